"""What can watch a run: each is a value of a config, listed under ``callbacks``."""

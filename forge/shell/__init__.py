"""Tier 5: the interactive shell, ``forge -i``."""

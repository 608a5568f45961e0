"""Tier 1, the only user of Hydra and OmegaConf: config files become a plain tree with the origin of every value."""

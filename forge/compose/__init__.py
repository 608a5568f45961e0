"""Tier 1, the only user of Hydra and OmegaConf: config files become a plain tree with the origin of every value.

project ──> repository ──> composer ──> Composed          document: one YAML file, with limits and positions
                 lookups ──> cache ────────┘              merge, overrides, arguments, reference, interpolation
"""

"""Tier 5: the one-liner."""

"""Tier 4: running jobs."""

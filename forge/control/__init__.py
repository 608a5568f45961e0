"""Tier 4: the jobs that were started, how they are, and what may be asked of them."""

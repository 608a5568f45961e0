"""Tier 4: where and how a run is started."""

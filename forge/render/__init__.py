"""Tier 3: graph to text, never importing user code."""

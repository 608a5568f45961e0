"""Tier 4: what runs have measured, and what became of them: lists, curves, comparisons and pages."""

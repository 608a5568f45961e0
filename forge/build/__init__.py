"""Tier 3: graph to live objects, the policy asked before any import."""

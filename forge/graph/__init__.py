"""Tier 2: the composed tree becomes a graph of nodes; walk, signature, check, policy, diff."""

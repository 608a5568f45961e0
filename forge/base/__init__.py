"""Tier 0, standard library only: errors, origins, files, places, spelling, secrets."""

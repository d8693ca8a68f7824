"""Restart chains, one per job, and what they have in common."""

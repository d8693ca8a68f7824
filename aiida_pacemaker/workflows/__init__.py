"""Restart chains, labelling and the active-learning loop."""

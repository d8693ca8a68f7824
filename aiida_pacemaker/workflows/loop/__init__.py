"""The active-learning loop: its chain, ports, settings, steps, state and history."""

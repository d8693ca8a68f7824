"""How good a potential is, and what gamma is worth. Plain Python, no AiiDA."""

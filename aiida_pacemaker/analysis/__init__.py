"""How good a potential is, and how gamma is calibrated. Plain Python, no AiiDA."""

"""Explorations: what can be asked, what comes of them, and how LAMMPS is told. Plain Python, no AiiDA."""

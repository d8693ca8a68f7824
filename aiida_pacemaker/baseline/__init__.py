"""Short-range reference energies (ZBL, LJ) and how LAMMPS and ASE express them. Plain Python, no AiiDA."""

"""What the arrays of a trajectory of pw.x mean, as aiida-quantumespresso stores them."""

from __future__ import annotations

from ase import units

from aiida_pacemaker.frames.conventions import Convention

#: `output_trajectory` of pw.x. After a vc-relax it has one more of each label than of structures: those of the final
#: scf on the output structure, which is not part of the trajectory.
QUANTUM_ESPRESSO = Convention(
    'quantumespresso',
    'eV, eV/Å, GPa with compression positive, positions in Å',
    stress_factor=-units.GPa,
    surplus_label=True,
)

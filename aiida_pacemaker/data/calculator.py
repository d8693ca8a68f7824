"""The ASE calculator of a potential node, where python-ace is installed beside AiiDA."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aiida_pacemaker.baseline.ase_calculator import to_ase

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from aiida_pacemaker.data.active_set import PaceActiveSetData
    from aiida_pacemaker.data.potential import PacePotentialData


def build_calculator(potential: PacePotentialData, active_set: PaceActiveSetData | None = None) -> BaseCalculator:
    """Return the sum of the potential and its baseline as one ASE calculator.

    :raises ImportError: if python-ace is not installed in this environment.
    """
    try:
        from pyace import PyACECalculator  # noqa: PLC0415 (an optional dependency)
    except ImportError as exception:
        raise ImportError(
            'an ASE calculator of the potential needs python-ace in this environment: install `aiida-pacemaker[engine]`'
        ) from exception

    # The engine reads files only; it is done with them when the calculator is made.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, potential.B_BASIS)
        path.write_bytes(potential.get_b_basis())
        calculator = PyACECalculator(str(path))
        if active_set is not None:
            asi = Path(folder, active_set.filename)
            asi.write_bytes(active_set.content)
            calculator.set_active_set(str(asi))
    return to_ase(potential.baseline, calculator)

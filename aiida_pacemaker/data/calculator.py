"""The ASE calculator of a potential, where python-ace is installed beside AiiDA."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_pacemaker.baseline.ase_calculator import one_frame, to_ase
from aiida_pacemaker.frames.handedness import right_handed_calculator
from aiida_pacemaker.pace.unseen import Unseen, unseen_atoms
from aiida_pacemaker.pace.versions import TESTED

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator

    from aiida_pacemaker.baseline.model import DeltaBaseline


def build_calculator(
    b_basis: bytes, baseline: DeltaBaseline, active_set: bytes | None = None, unseen: Unseen | None = None
) -> BaseCalculator:
    """Return the sum of a potential and its baseline as one ASE calculator.

    :param b_basis: content of the B-basis ``.yaml``.
    :param baseline: what was subtracted from the labels before the fit.
    :param active_set: content of the ``.asi`` file, for gamma.
    :param unseen: interactions that the data of the active set never had: gamma of atoms that have them is infinite.
    :raises ImportError: if python-ace is not installed in this environment.
    """
    try:
        from pyace import PyACECalculator  # noqa: PLC0415 (an optional dependency)
    except ImportError as exception:
        raise ImportError(
            'an ASE calculator of the potential needs python-ace in this environment: '
            f'`pip install python-ace=={TESTED[0]}`'
        ) from exception

    class Graded(right_handed_calculator(PyACECalculator)):  # type: ignore[misc,unused-ignore]
        """The calculator of the engine, with the interactions that the data never had in its gamma."""

        def calculate(self, atoms: Atoms | None = None, *arguments: Any, **options: Any) -> None:
            super().calculate(atoms, *arguments, **options)
            if unseen and self.atoms is not None and 'gamma' in self.results:
                strangers = unseen_atoms(one_frame(self.atoms), unseen)
                self.results['gamma'] = np.where(strangers, np.inf, self.results['gamma'])

    # The engine reads files only; it is done with them when the calculator is made.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'potential.yaml')
        path.write_bytes(b_basis)
        calculator = Graded(str(path))
        if active_set is not None:
            asi = path.with_suffix('.asi')
            asi.write_bytes(active_set)
            calculator.set_active_set(str(asi))
    return to_ase(baseline, calculator)

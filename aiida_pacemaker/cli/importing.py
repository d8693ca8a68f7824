"""What `aiida-pacemaker import potential` does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.functions.potentials import import_potential_file
from aiida_pacemaker.errors import ImportFileError


def imported(file: Path, yace: Path | None, energies: Sequence[str], baseline: Path | None, no_baseline: bool) -> str:
    """Import a potential, and return what it is in words.

    :param energies: energies of isolated atoms in eV, each as `ELEMENT=EV`.
    :param baseline: JSON file with a baseline.
    :param no_baseline: whether there is none.
    :raises ImportFileError: if the potential is refused, or something that is given cannot be read.
    """
    given = {}
    for pair in energies:
        symbol, _, energy = pair.partition('=')
        try:
            given[symbol] = float(energy)
        except ValueError as exception:
            raise ImportFileError(
                f'--reference-energy: found {pair!r}, needed: ELEMENT=EV, as in Cu=-3.24'
            ) from exception
    try:
        described = DeltaBaseline(mode='none').model_dump(mode='json') if no_baseline else None
        if baseline is not None:
            described = json.loads(baseline.read_text(encoding='utf-8'))
            if not isinstance(described, dict):
                raise ImportFileError(f'{baseline}: found {type(described).__name__}, needed: a baseline')
        potential = import_potential_file(file, c_tilde=yace, reference_energies=given or None, baseline=described)
    except (ValueError, OSError) as exception:
        raise ImportFileError(str(exception)) from exception
    energies_of_atoms = ', '.join(f'{symbol} {energy:g} eV' for symbol, energy in potential.reference_energies.items())
    lines = [
        f'potential: PK {potential.pk}, {"-".join(potential.elements)}, {potential.n_functions} functions, cutoff '
        f'{potential.cutoff:g} Å',
        f'isolated atoms: {energies_of_atoms}',
        f'baseline: mode {potential.baseline.mode}',
    ]
    if potential.baseline.mode == 'none':
        lines.append('nothing keeps atoms apart at distances that its data did not have')
    return '\n'.join(lines)

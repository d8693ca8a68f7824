"""Calculation functions on isolated atoms, whose energies the total energies are counted from."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction
from ase import Atoms

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.isolated import ALONE, atom_energies
from aiida_pacemaker.frames.theory import joined
from aiida_pacemaker.sources.origin import TrajectoryOrigin

#: Exit status where an atom has no energy.
ERROR_ATOM_MISSING = 410
#: Exit status where the energies are of different levels of theory.
ERROR_LEVELS_DIFFER = 411

#: The source of the frames, which are not read from any node.
SOURCE = 'isolated_atoms'


@calcfunction
def isolated_atoms(elements: orm.List, box: orm.Float) -> PaceDatasetData:
    """Return an atom of each element as a dataset without labels.

    :param box: edge of the cube that each is in, which is periodic, in angstrom.
    """
    images = [Atoms(element, cell=[box.value] * 3, pbc=True) for element in sorted(set(elements.get_list()))]
    return PaceDatasetData(from_atoms(images, SOURCE))


@calcfunction
def energies_of_atoms(elements: orm.List, **trajectories: orm.TrajectoryData) -> dict[str, orm.Data] | ExitCode:
    """Return the energy of the atom of each element (eV), and the level of theory of all of them where it is known."""
    energies: dict[str, float] = {}
    levels = {}
    for label, node in trajectories.items():
        origin = TrajectoryOrigin(node)
        try:
            reading = origin.read()
        except ValueError as exception:
            return ExitCode(ERROR_ATOM_MISSING, f'`{label}`, which is {node}, cannot be read: {exception}')
        if reading.unconverged:
            return ExitCode(
                ERROR_ATOM_MISSING, f'`{label}`, which is {node}: {next(iter(reading.unconverged.values()))}'
            )
        frames = reading.frames
        if not (frames.n_atoms == 1).all() or frames.energy is None:
            return ExitCode(ERROR_ATOM_MISSING, f'`{label}`, which is {node}, is no labelled isolated atom')
        (element,) = frames.elements
        level = origin.level_of_theory()
        if level is not None:
            levels[element] = level
        if np.isfinite(frames.energy).all():
            energies[element] = float(frames.energy[-1])
    missing = sorted(set(elements.get_list()) - set(energies))
    if missing:
        return ExitCode(ERROR_ATOM_MISSING, f'the isolated atom of {", ".join(missing)} has no energy')
    outputs: dict[str, orm.Data] = {'reference_energies': orm.Dict(dict(sorted(energies.items())))}
    if set(levels) == set(energies):
        try:
            whole = joined([level for _, level in sorted(levels.items())])
        except ValueError as exception:
            return ExitCode(ERROR_LEVELS_DIFFER, str(exception))
        outputs['level_of_theory'] = orm.Dict(whole.model_dump(mode='json', exclude_none=True))
    return outputs


@calcfunction
def isolated_atom_energies(elements: orm.List, **datasets: PaceDatasetData) -> orm.Dict | ExitCode:
    """Return the energy of the isolated atom of each element (eV), from frames of one atom alone in datasets."""
    try:
        energies = atom_energies(frames for _, dataset in sorted(datasets.items()) for frames in dataset.iterate())
    except ValueError as exception:
        return ExitCode(ERROR_LEVELS_DIFFER, str(exception))
    missing = sorted(set(elements.get_list()) - set(energies))
    if missing:
        return ExitCode(
            ERROR_ATOM_MISSING,
            f'there is no isolated atom of {", ".join(missing)}: a frame of one atom alone, without periods or with '
            f'{ALONE:g} angstrom between its images. Give one, have them labelled (`isolated_atoms` in the loop), or '
            'fit the energies with `fit_reference_energies`',
        )
    return orm.Dict({element: energies[element] for element in sorted(elements.get_list())})

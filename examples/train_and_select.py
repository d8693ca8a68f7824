"""Train a potential and select from a pool with two calls, each a process with provenance.

Run with `verdi run examples/train_and_select.py`; `aiida-pacemaker setup` makes the profile and the codes it needs.

The trajectories are stored by kind of structure (an equation of state, strains, displacements of one size), so that the
selected frames can be asked which kind they came from.
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

import ase.io
from aiida import orm
from ase import Atoms

from aiida_pacemaker import PacemakerTrainer, frame_origin, merge_frames, parse_config, trajectories_from_atoms

# `verdi run` gives a script the path that it was called by as its first argument.
DATA = Path(sys.argv[0]).resolve().parent / 'mgo-lda.extxyz'

#: Isolated atoms at the settings of the data, in eV: see README.md beside this file.
REFERENCE_ENERGIES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}
#: What the potential is trained on; all else is in the pool.
TRAINED_ON = ('rocksalt-strain', 'rocksalt8-rattle0.04')


def kind_of(image: Atoms) -> str:
    """Return the kind of a structure, which is its label without the number at the end."""
    return str(image.info['label'].rpartition('-')[0])


def main() -> None:
    images = sorted(ase.io.read(DATA, ':'), key=kind_of)
    training, candidates = [], []
    for kind, group in groupby(images, key=kind_of):
        for trajectory in trajectories_from_atoms(list(group)):
            trajectory.label = kind
            (training if kind in TRAINED_ON else candidates).append(trajectory)
    dataset, _ = merge_frames(*training)
    pool, _ = merge_frames(*candidates)

    codes = {'python': 'pace_python', 'pace_activeset': 'pace_activeset', 'pace_select': 'pace_select'}
    trainer = PacemakerTrainer(
        config=parse_config({'elements': ['Mg', 'O'], 'active_set_size': 5}),
        codes={name: orm.load_code(f'{label}@localhost') for name, label in codes.items()},
        reference_energies=REFERENCE_ENERGIES,
    )
    potential, metrics = trainer.train(dataset)
    print(f'\n{potential}')
    print(f'trained on {dataset.n_frames} frames by an exact linear fit:')
    print(f'  {1000 * metrics["rmse_energy"]:.1f} meV/atom, {1000 * metrics["rmse_forces"]:.0f} meV/Å')

    selected = trainer.select_active_set([pool], potential)
    if selected is None:
        print(f'\nNone of {pool.n_frames} candidates would enlarge the active set.')
        return
    origins = [frame_origin(selected, index) for index in range(selected.n_frames)]
    print(f'\n{selected.n_frames} of {pool.n_frames} candidates selected, the most informative first:')
    for origin in origins:
        print(f'  {origin.source.label:22} frame {origin.step} of trajectory {origin.source.pk}')
    print('by kind:', dict(Counter(origin.source.label for origin in origins)))


if __name__ == '__main__':
    main()

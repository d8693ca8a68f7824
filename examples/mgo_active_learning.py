"""Active learning on real DFT data of MgO: from a narrow start to a potential that knows the pool.

Run with `verdi run examples/mgo_active_learning.py`; `aiida-pacemaker setup` makes the profile and the codes it needs.

The initial set is as narrow as users have it: rocksalt near equilibrium and small displacements. The pool holds larger
displacements, strains, other volumes and the CsCl structure. Its labels are there already, and the loop reveals those
that it selects. The test set, drawn from the same frames as the pool, is never trained on.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import ase.io
from aiida import orm
from aiida.engine import run_get_node
from ase import Atoms
from ase.eos import EquationOfState
from ase.units import GPa, Ry

from aiida_pacemaker import (
    PaceActiveLearningWorkChain,
    contributing_trajectories,
    format_table,
    frame_origin,
    loop_table,
    merge_frames,
    split_frames,
)
from aiida_pacemaker.calculations.functions.datasets import pick_frames

# `verdi run` gives a script the path that it was called by as its first argument.
HERE = Path(sys.argv[0]).resolve().parent
DATA = HERE / 'mgo-lda.extxyz'
OUTPUT = HERE / 'output'

#: Isolated atoms at the settings of the data, in eV: see README.md beside this file.
REFERENCE_ENERGIES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}

#: What the labels were calculated with, which the file does not say: labels of another level are not merged with them.
LEVEL_OF_THEORY = {
    'code': 'quantumespresso.pw',
    'version': '6.7',
    'functional': 'PZ',
    'pseudopotentials': {
        'Mg': {'filename': 'Mg.pz-n-vbc.UPF', 'md5': 'adf9ca49345680d0fd32b5bc0752f25b'},
        'O': {'filename': 'O.pz-rrkjus.UPF', 'md5': 'c5abe3fd05217cb51bb0c605dcba6842'},
    },
    'cutoffs': {'wavefunction': 30 * Ry, 'density': 240 * Ry},
    'spin': 'none',
    'arguments': {'kpoints': '4x4x4 for 2 atoms, 2x2x2 for 8 atoms'},
}


def is_near_equilibrium(label: str) -> bool:
    """Tell whether a frame belongs to the narrow set that one begins with."""
    return label in ('rocksalt-eos-0.98', 'rocksalt-eos-1.00', 'rocksalt-eos-1.02') or 'rattle0.04' in label


def compare_equations_of_state(potential: orm.Data, images: list[Atoms]) -> None:
    """Compare lattice constant and bulk modulus of rocksalt with those of DFT, within 6 % of its lattice constant."""
    near = [image for image in images if re.fullmatch(r'rocksalt-eos-(0.9[4-8]|1.0[0-6])', image.info['label'])]
    curves = {'DFT': [image.get_potential_energy() for image in near], 'ACE': []}
    for image in near:
        atoms = image.copy()
        atoms.calc = potential.to_ase()
        curves['ACE'].append(atoms.get_potential_energy())
    print('\nEquation of state:')
    for name, energies in curves.items():
        volumes = [image.get_volume() for image in near]
        volume, _, modulus = EquationOfState(volumes, energies, eos='birchmurnaghan').fit()
        print(f'  {name}: a = {(4 * volume) ** (1 / 3):.4f} Å, B = {modulus / GPa:.1f} GPa')


def main() -> None:
    dataset, _ = merge_frames(DATA, levels={'source_0000': LEVEL_OF_THEORY})
    # The file calls each frame by a `label`. Larger cells come first here.
    images = ase.io.read(DATA, ':')
    order = sorted(range(len(images)), key=lambda step: -len(images[step]))
    narrow = [step for step in order if is_near_equilibrium(images[step].info['label'])]
    initial = pick_frames(dataset, narrow)
    others = pick_frames(dataset, [step for step in order if step not in narrow])
    pool, test = split_frames(others, test_fraction=0.2, seed=42)

    builder = PaceActiveLearningWorkChain.get_builder_from_protocol(
        pacemaker=orm.load_code('pacemaker@localhost'),
        pace_yaml2yace=orm.load_code('pace_yaml2yace@localhost'),
        pace_activeset=orm.load_code('pace_activeset@localhost'),
        pace_select=orm.load_code('pace_select@localhost'),
        python=orm.load_code('pace_python@localhost'),
        initial=[initial],
        pool=pool,
        test_dataset=test,
        protocol='fast',
        reference_energies=REFERENCE_ENERGIES,
    )
    _, loop = run_get_node(builder)
    if 'report' in loop.outputs:
        print('\nErrors in meV/atom and meV/Å, γ of the pool:\n')
        print(format_table(loop_table(loop)))
    if not loop.is_finished_ok:
        raise SystemExit(f'The loop failed with [{loop.exit_status}] {loop.exit_message}')

    report = loop.outputs.report.get_dict()
    print(f'\nStopped: {report["stop_reason"]}. {report["stop_message"]}')
    compare_equations_of_state(loop.outputs.potential, images)
    paths = loop.outputs.potential.write_files(OUTPUT, active_set=loop.outputs.active_set, stem='mgo')
    print('\nWritten:', *(f'  {path}' for path in paths), sep='\n')
    print('\nThe lines for LAMMPS:\n')
    print(loop.outputs.potential.to_lammps(active_set=True, stem='mgo'))
    print('Where the potential came from:\n')
    for source in contributing_trajectories(loop.outputs.potential):
        print(f'  {source.filename} (PK {source.pk})')
    print(f'  frame 20: {frame_origin(loop.outputs.dataset, 20)}\n')
    print(f'See what was run:  verdi process status {loop.pk}')


if __name__ == '__main__':
    main()

"""Active learning on real DFT data of MgO: from a narrow start to a potential that knows the pool.

Run with `verdi run examples/mgo_active_learning.py`; `aiida-pacemaker setup` makes the profile and the codes it needs.

The initial set is as narrow as users have it: rocksalt near equilibrium and small displacements. The pool holds larger
displacements, strains, other volumes and the CsCl structure. Its labels are there already, and the loop reveals those
that it selects. The test set, drawn from the same frames as the pool, is never trained on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
from aiida import orm
from aiida.engine import run_get_node

from aiida_pacemaker.calculations.datasets import merge_frames, split_frames
from aiida_pacemaker.data.trajectories import trajectories_from_atoms
from aiida_pacemaker.provenance.loop import format_table, loop_table
from aiida_pacemaker.workflows.active_learning import PaceActiveLearningWorkChain

# `verdi run` gives a script the path that it was called by as its first argument.
HERE = Path(sys.argv[0]).resolve().parent
DATA = HERE / 'mgo-lda.extxyz'
OUTPUT = HERE / 'output'

#: Isolated atoms at the settings of the data, in eV: see README.md beside this file.
REFERENCE_ENERGIES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}


def is_near_equilibrium(label: str) -> bool:
    """Tell whether a frame belongs to the narrow set that one begins with."""
    return label in ('rocksalt-eos-0.98', 'rocksalt-eos-1.00', 'rocksalt-eos-1.02') or 'rattle0.04' in label


def main() -> None:
    images = ase.io.read(DATA, ':')
    initial = trajectories_from_atoms([image for image in images if is_near_equilibrium(image.info['label'])])
    others = trajectories_from_atoms([image for image in images if not is_near_equilibrium(image.info['label'])])
    dataset, _ = merge_frames(*others)
    pool, test = split_frames(dataset, test_fraction=0.2, seed=42)

    builder = PaceActiveLearningWorkChain.get_builder_from_protocol(
        pacemaker=orm.load_code('pacemaker@localhost'),
        pace_yaml2yace=orm.load_code('pace_yaml2yace@localhost'),
        pace_activeset=orm.load_code('pace_activeset@localhost'),
        pace_select=orm.load_code('pace_select@localhost'),
        python=orm.load_code('pace_python@localhost'),
        initial=initial,
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
    paths = loop.outputs.potential.write_files(OUTPUT, active_set=loop.outputs.active_set, stem='mgo')
    print('\nWritten:', *(f'  {path}' for path in paths), sep='\n')
    print('\nThe lines for LAMMPS:\n')
    print(loop.outputs.potential.to_lammps(active_set=True, stem='mgo'))
    print(f'See what was run:  verdi process status {loop.pk}')


if __name__ == '__main__':
    main()

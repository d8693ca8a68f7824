"""Active learning with a labeller: an unlabelled pool of copper, labelled by the EMT potential of ASE.

Run with `verdi run examples/copper_emt.py`; `aiida-pacemaker setup` makes the profile and the codes it needs.

EMT stands in for any calculator that ASE can import where the jobs run. It labels the initial set and the test set
first, and in the loop nothing but the frames that are selected.
"""

from __future__ import annotations

from aiida import orm
from aiida.engine import run_get_node
from ase import Atoms
from ase.build import bulk

from aiida_pacemaker import (
    PaceActiveLearningWorkChain,
    PaceDatasetData,
    format_table,
    loop_table,
    merge_frames,
    trajectories_from_atoms,
)
from aiida_pacemaker.calculations.label_ase import AseLabelCalculation


def cells(count: int, displacement: float, strain: float, seed: int) -> list[Atoms]:
    """Return cubic cells of copper, their volumes spread over a range of strains, with random displacements.

    :param displacement: standard deviation in angstrom.
    :param strain: largest linear strain of either sign.
    """
    images = []
    for index in range(count):
        image = bulk('Cu', cubic=True)
        scale = 1 + strain * (2 * index / (count - 1) - 1)
        image.set_cell(image.cell * scale, scale_atoms=True)
        image.rattle(displacement, seed=seed + index)
        images.append(image)
    return images


def unlabelled(images: list[Atoms]) -> PaceDatasetData:
    """Return structures as a dataset without labels."""
    dataset, _ = merge_frames(*trajectories_from_atoms(images), labelled=False)
    return dataset


def main() -> None:
    labeller = {
        'code': orm.load_code('pace_python@localhost'),
        'calculator': orm.Dict({'calculator': 'ase.calculators.emt:EMT', 'arguments': {}}),
    }

    def labelled(images: list[Atoms]) -> list[orm.TrajectoryData]:
        outputs, node = run_get_node(AseLabelCalculation, dataset=unlabelled(images), **labeller)
        if not node.is_finished_ok:
            raise SystemExit(f'The labelling failed with [{node.exit_status}] {node.exit_message}')
        return list(outputs['trajectories'].values())

    test, _ = merge_frames(*labelled(cells(8, displacement=0.15, strain=0.05, seed=1000)))
    builder = PaceActiveLearningWorkChain.get_builder_from_protocol(
        pacemaker=orm.load_code('pacemaker@localhost'),
        pace_activeset=orm.load_code('pace_activeset@localhost'),
        pace_select=orm.load_code('pace_select@localhost'),
        python=orm.load_code('pace_python@localhost'),
        initial=labelled(cells(6, displacement=0.05, strain=0.02, seed=0)),
        pool=unlabelled(cells(40, displacement=0.2, strain=0.06, seed=2000)),
        test_dataset=test,
        protocol='fast',
        overrides={'settings': {'max_generations': 2, 'frames_per_generation': 5}},
    )
    builder.label = {'entry_point': 'pacemaker.label.ase', 'inputs': labeller}
    _, loop = run_get_node(builder)
    if 'report' in loop.outputs:
        print('\nErrors in meV/atom and meV/Å, γ of the pool:\n')
        print(format_table(loop_table(loop)))
    if not loop.is_finished_ok:
        raise SystemExit(f'The loop failed with [{loop.exit_status}] {loop.exit_message}')
    report = loop.outputs.report.get_dict()
    print(f'\nStopped: {report["stop_reason"]}. {report["stop_message"]}')


if __name__ == '__main__':
    main()

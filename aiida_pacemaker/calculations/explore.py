"""The exploration job: molecular dynamics with the potential, which keeps the frames on which it extrapolates."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from aiida import orm
from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import to_aiida_type

from aiida_pacemaker.baseline import ace_on_baseline, pair_terms
from aiida_pacemaker.calculations.base import LOOK_AND_REPEAT, PaceCalcJob
from aiida_pacemaker.calculations.checks.inputs import all_of, options_of, validator_for
from aiida_pacemaker.calculations.selection_job import check_elements
from aiida_pacemaker.calculations.unseen import unseen_of
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import SHARD_BYTES, PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.errors import PerturbationError
from aiida_pacemaker.exploration import keeping, velocities
from aiida_pacemaker.exploration.options import ExploreOptions, check_periodicity
from aiida_pacemaker.frames import handedness, random_states
from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.perturbation import Perturbation, perturb
from aiida_pacemaker.frames.shards import split_into_shards, write_shard
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.pace import near_elements

#: Explorations whose starting structures are remembered: those of jobs that are submitted and parsed side by side.
REMEMBERED = 16


def validate_seed(node: orm.Int | None, _: Any) -> str | None:
    """Check that a node holds a number that random numbers can begin with."""
    if node is None or 0 <= node.value < 2**63:
        return None
    return f'found {node.value}, needed: an integer from 0 to 2^63 - 1'


def validate_explore(inputs: Any, _: Any) -> str | None:
    """Check that the potential describes the initial structures, and that runs can begin from them."""
    if any(name not in inputs for name in ('potential', 'active_set', 'initial_structures')):
        return None
    structures: PaceDatasetData = inputs['initial_structures']
    problem = check_elements(inputs['potential'], {'initial_structures': structures}, inputs['active_set'])
    if problem is not None:
        return problem
    options = options_of(ExploreOptions, inputs)
    try:
        inputs['potential'].baseline.plain_terms(structures.elements)
        if problem := check_periodicity(options, structures.get_frames()):
            return problem
        # Whether structures can be perturbed does not depend on the random numbers, but for what vacancies leave over.
        if 'random_seed' in inputs:
            starting_frames(structures, options, inputs['random_seed'].value)
    except PerturbationError as exception:
        return f'`options.perturbation`: {exception}'
    except ValueError as exception:
        return str(exception)
    return None


def starting_frames(structures: PaceDatasetData, options: ExploreOptions, random_seed: int) -> Frames:
    """Return the structures that the runs begin from: all copies of the first one given, then of the second.

    They follow from the arguments and are not stored. Those of the last `REMEMBERED` calls are kept, so that the checks
    of a job, its submission and its parser share them within one process.

    :param structures: the initial structures, as they were given.
    :param options: with the perturbation and the number of copies.
    :param random_seed: the perturbations follow from it.
    :returns: frames whose columns cannot be written to.
    :raises PerturbationError: if a structure cannot be perturbed as was asked for.
    """
    shards = tuple(shard['name'] for shard in structures.shards)
    return _starting_frames(_Given(shards, structures), options.perturbation, options.copies, random_seed)


@dataclass(frozen=True)
class _Given:
    """Initial structures, which are the same where their shards are: these are named by their content."""

    shards: tuple[str, ...]
    structures: PaceDatasetData = field(compare=False)


@lru_cache(maxsize=REMEMBERED)
def _starting_frames(given: _Given, perturbation: Perturbation, copies: int, random_seed: int) -> Frames:
    starts = perturb(given.structures.get_frames(), perturbation, copies=copies, seed=random_seed)
    for column in vars(starts).values():
        if isinstance(column, np.ndarray):
            column.setflags(write=False)
    return starts


def run_keys(starts: Frames, inputs: Any) -> list[str]:
    """Return the source key of each run: a hash of potential, options, random seed and starting structure.

    :param starts: the structures that the runs begin from.
    :param inputs: those of the job.
    """
    potential: PacePotentialData = inputs['potential']
    said = [options_of(ExploreOptions, inputs).model_dump(mode='json'), potential.baseline.model_dump(mode='json')]
    digest = hashlib.sha256(
        potential.get_b_basis() + json.dumps([*said, inputs['random_seed'].value]).encode()
    ).hexdigest()
    return [
        hashlib.sha256(f'{digest}\n{start}\n{number}'.encode()).hexdigest()[:32]
        for number, start in enumerate(hex_hashes(frame_hashes(starts)))
    ]


class ExplorationJob(PaceCalcJob):
    """Base of all jobs that explore with a potential, whatever program moves the atoms."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input('potential', valid_type=PacePotentialData, help='The potential to explore with.')
        spec.input('active_set', valid_type=PaceActiveSetData, help='What gamma is measured against.')
        spec.input(
            'initial_structures',
            valid_type=PaceDatasetData,
            help='The structures to begin from; labels are not used.',
        )
        spec.input(
            'random_seed',
            valid_type=orm.Int,
            serializer=to_aiida_type,
            validator=validate_seed,
            help='All random numbers follow from this one: the perturbations, the velocities, the thermostat.',
        )
        spec.input(
            'options',
            valid_type=orm.Dict,
            required=False,
            serializer=to_aiida_type,
            validator=validator_for(ExploreOptions),
            help='The dynamics, what is kept and what stops a run: `ExploreOptions`.',
        )
        spec.inputs.validator = all_of(spec.inputs.validator, validate_explore)
        spec.output(
            'candidates',
            valid_type=PaceDatasetData,
            required=False,
            help='The frames that were kept, if there are any.',
        )
        spec.output(
            'grades',
            valid_type=orm.ArrayData,
            required=False,
            help='Of the candidates: `gamma` (A,) of each atom, and of each frame `gamma_max`, `run` and `step` (F,); '
            'of `pacemaker.explore` also `energy` (F,) in eV and `forces` (A, 3) in eV/angstrom of the potential, '
            'comparable with labels: baseline and reference energies are included.',
        )
        spec.output(
            'traces',
            valid_type=orm.ArrayData,
            required=False,
            help='What was seen at each check, in columns: `run`, `step`, `time` (fs), `gamma_max`, `temperature` (K), '
            '`energy` (potential energy in eV/atom relative to isolated atoms), `min_distance` (angstrom).',
        )
        spec.output('report', valid_type=orm.Dict, required=False, help='What became of the runs.')
        spec.exit_code(
            311,
            'ERROR_EXPLORATION_INVALID',
            invalidates_cache=True,
            message='What {count} runs left behind cannot be used, those of the others are in the outputs: {reason}. '
            + LOOK_AND_REPEAT,
        )
        spec.exit_code(
            410,
            'ERROR_EXPLORATION_INTERRUPTED',
            invalidates_cache=True,
            message='The job was stopped with {missing} of {count} runs not at their end. What the others kept is in '
            'the outputs; ask for more time, for fewer steps, or explore from fewer structures in one job.',
        )
        spec.exit_code(
            510,
            'ERROR_ALL_RUNS_FAILED',
            invalidates_cache=True,
            message='None of {count} runs came to anything. Look at the initial structures and the options (a shorter '
            '`timestep`, a smaller perturbation); of the first run it was said "{reason}".',
        )


class PaceExploreCalculation(ExplorationJob):
    """Explore by molecular dynamics with ASE, from perturbed structures, and keep frames by their extrapolation grade.

    The code is the Python interpreter that the engine is installed in. Forces are those of the potential with its
    baseline. A run keeps frames whose gamma is from `gamma_low` to `gamma_high` and is stopped beyond, or where it
    meets interactions that the data of the active set never had, of which it keeps the frame: gamma is infinite there.
    A job that is stopped keeps the runs that have come to their end. The same inputs give the same trajectories on the
    same machine; on another one, rounding makes them part after some picoseconds.
    """

    DRIVER: ClassVar[str] = 'explore.py'
    #: What the driver imports.
    MODULES: ClassVar[tuple[str, ...]] = (
        *('dynamics.py', 'journal.py', 'listed_baseline.py', 'running.py'),
        *('structures.py', 'summary.py', 'watching.py'),
    )
    #: Formulas and rules of this package that the driver follows too.
    SHARED: ClassVar[tuple[ModuleType, ...]] = (
        *(ace_on_baseline, handedness, keeping, near_elements, pair_terms, random_states, velocities),
    )
    REQUEST: ClassVar[str] = 'explore.json'
    RUNS: ClassVar[str] = 'runs.jsonl'
    SUMMARY: ClassVar[str] = 'exploration.json'
    POTENTIAL: ClassVar[str] = 'potential.yaml'
    ACTIVE_SET: ClassVar[str] = 'potential.asi'

    PROGRAM = 'explore.py'
    PARSER = 'pacemaker.explore'

    @staticmethod
    def output_of(number: int) -> str:
        """Return the name of the file with the checks and the kept frames of a run."""
        return f'run_{number:06d}.npz'

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the inputs of the driver."""
        potential: PacePotentialData = self.inputs.potential
        active_set: PaceActiveSetData = self.inputs.active_set
        structures: PaceDatasetData = self.inputs.initial_structures
        seed = int(self.inputs.random_seed.value)
        options = options_of(ExploreOptions, self.inputs)
        info = self.calc_info(
            [self.code_info(self.inputs.code, [self.DRIVER])],
            retrieve=[self.STDOUT, self.STDERR, self.RUNS, self.SUMMARY],
        )
        with self.stage(folder, info) as staging:
            staging.potential(potential, self.POTENTIAL)
            staging.active_set(active_set, self.ACTIVE_SET)
        info.retrieve_temporary_list.append(('run_*.npz', '.', 1))
        # They follow from the inputs, so they are not kept.
        starts = starting_frames(structures, options, seed)
        shards = {
            f'starts_{index:04d}.npz': write_shard(part)
            for index, part in enumerate(split_into_shards(starts, SHARD_BYTES))
        }
        info.provenance_exclude_list += list(shards)
        for name, content in shards.items():
            with folder.open(name, 'wb') as handle:
                handle.write(content)
        self.insert_drivers(folder, self.DRIVER, *self.MODULES)
        self.insert_modules(folder, self.SHARED)
        unseen = unseen_of(active_set, potential)
        request = {
            'potential': self.POTENTIAL,
            'active_set': self.ACTIVE_SET,
            'baseline': potential.baseline.plain_terms(potential.elements),
            'options': options.request(),
            'unseen': None if unseen is None else unseen.request(),
            'seed': seed,
            'shards': list(shards),
            'runs': [
                {'frame': frame, 'copy': copy} for frame in range(len(structures)) for copy in range(options.copies)
            ],
        }
        with folder.open(self.REQUEST, 'w') as handle:
            json.dump(request, handle, indent=1)
        return info

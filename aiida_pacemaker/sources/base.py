"""What a class says of the trajectories that one foreign type of process makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from aiida import orm

from aiida_pacemaker.frames.conventions import Convention
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.frames.trajectory import from_arrays

Arrays = dict[str, npt.NDArray[Any]]


class TrajectorySource:
    """Trajectories of one foreign type of process: what their arrays mean, and what the process tells besides.

    A subclass is found by an entry point of the group `pacemaker.sources`, whose name is the entry point of the process
    (`quantumespresso.pw` for `aiida.calculations:quantumespresso.pw`). It has to give a :attr:`convention`; all else
    may stay as it is here. Classes have no state: the job that made a trajectory is given to each method, or None where
    it is not there (a graph that was imported in part, a trajectory that a user has put together, or one of another
    process whose convention was stated by hand). The plugin of the process need not be installed: no class may import
    it.
    """

    #: Names, units, signs and coordinates of the arrays. Its name is what a user states.
    convention: ClassVar[Convention]
    #: Other types of process whose trajectories are the same, such as that of a class without an entry point.
    process_types: ClassVar[tuple[str, ...]] = ()
    #: Arrays that nobody else writes: with one of them a trajectory is recognised where its process is not there.
    own_arrays: ClassVar[frozenset[str]] = frozenset()
    #: Labels of the outputs of a job that are trajectories of this kind.
    outputs: ClassVar[tuple[str, ...]] = ('output_trajectory',)
    #: Where a job says how many seconds it ran: label of a `Dict` among its outputs, and the path in it, with dots.
    run_time: ClassVar[tuple[str, str] | None] = None
    #: Exit codes of a job, by their labels, after which its last step is not converged.
    unconverged_exits: ClassVar[Mapping[int, str]] = {}

    def recognises(self, node: orm.TrajectoryData) -> Literal['yes', 'maybe', 'no']:
        """Tell by its arrays alone whether a trajectory is of this kind.

        :returns: `maybe` if it looks so but may as well be something else; the user has to say then.
        """
        return 'yes' if self.own_arrays & set(node.get_arraynames()) else 'no'

    def read(
        self,
        node: orm.TrajectoryData,
        job: orm.CalcJobNode | None,
        *,
        source_key: str,
        convention: Convention | None = None,
        labelled: bool = True,
    ) -> Reading:
        """Return the frames of a trajectory in the units of datasets, and what is to be said of them.

        :param source_key: key under which the frames say where they are from.
        :param convention: of the arrays, where a user has stated another one than that of the class.
        :param labelled: whether labels are wanted; without, nothing that is wrong with them matters.
        :raises ValueError: if it cannot be read, or not be known what its labels belong to.
        """
        arrays, first_step, warnings = self.arrays(node, job, labelled=labelled)
        frames = from_arrays(
            arrays,
            node.symbols,
            self.pbc(node, job),
            source_key=source_key,
            convention=convention or self.convention,
        )
        if first_step:
            frames = replace(frames, step=frames.step + first_step)
        if not labelled:
            frames = frames.without_labels()
        unconverged = {} if frames.energy is None else self.unconverged(arrays, job, len(frames), len(node.symbols))
        return Reading(
            frames,
            warnings=tuple(warnings),
            unconverged=unconverged,
            missing=dict.fromkeys(range(len(frames)), _what_is_there(convention or self.convention, arrays)),
        )

    def arrays(
        self, node: orm.TrajectoryData, job: orm.CalcJobNode | None, *, labelled: bool
    ) -> tuple[Arrays, int, list[str]]:
        """Return the arrays of a trajectory with each structure beside its own labels.

        :param labelled: whether labels are wanted.
        :returns: the arrays, by the names and in the units of the convention; the number of steps that are left out at
            the beginning; warnings.
        :raises ValueError: if it is not known what labels belong to.
        """
        return stored_arrays(node), 0, []

    def pbc(self, node: orm.TrajectoryData, job: orm.CalcJobNode | None) -> tuple[bool, bool, bool] | None:
        """Return the periodicity of all frames, None for periodic if there are cells."""
        pbc = node.base.attributes.get('pbc', None)
        return None if pbc is None else (bool(pbc[0]), bool(pbc[1]), bool(pbc[2]))

    def unconverged(
        self, arrays: Mapping[str, npt.NDArray[Any]], job: orm.CalcJobNode | None, n_frames: int, n_atoms: int
    ) -> dict[int, str]:
        """Return why the labels of some frames cannot be trusted, by their positions: they are not self-consistent.

        :param arrays: as :meth:`arrays` returns them.
        """
        said = None if job is None else self.unconverged_exits.get(job.exit_status or 0)
        if job is None or said is None or not n_frames:
            return {}
        return {n_frames - 1: f'{named(job)} ended with `{said}`: converge it, or merge with `allow_unconverged=True`'}

    def level_of_theory(self, node: orm.TrajectoryData, job: orm.CalcJobNode) -> LevelOfTheory | None:
        """Return what the labels of a trajectory were calculated with, None if that is not known."""
        return None

    def trajectories(self, job: orm.CalcJobNode) -> list[orm.TrajectoryData]:
        """Return the trajectories that a job has made."""
        found = [job.outputs[label] for label in self.outputs if label in job.outputs]
        return [node for node in found if isinstance(node, orm.TrajectoryData)]

    def results(self, labeller: orm.ProcessNode) -> dict[str, list[orm.TrajectoryData]]:
        """Return what jobs of a labeller have given that is no label yet, by the frames that it is of.

        A labeller whose jobs do not return the very structures that they were given (most programs round positions)
        makes labels of their results in a further step. Its class finds the results here, so that those of a labeller
        that was stopped before that step are not lost, and not taken for labels.

        :param labeller: the process of a labeller, of whatever class.
        """
        return {}

    def collect(self, labeller: orm.ProcessNode, results: Mapping[str, orm.TrajectoryData]) -> list[orm.TrajectoryData]:
        """Return the labels that the further step makes of some results, with provenance.

        :param results: of a labeller for which :meth:`results` gives some, by their frames.
        """
        raise NotImplementedError(f'{type(self).__name__} has results to collect, but does not say how')


def _what_is_there(convention: Convention, arrays: Arrays) -> str:
    """Return what to say where a label is missing: what is looked for, and what there is."""
    wanted = ' or '.join(f'`{name}`' for name in convention.energy)
    found = ', '.join(f'`{name}`' for name in sorted(arrays))
    return (
        f'in the convention `{convention.name}` the energy is the array {wanted}, forces and stress are '
        f'`{convention.forces}` and `{convention.stress}`; the trajectory has {found}'
    )


def stored_arrays(node: orm.TrajectoryData) -> Arrays:
    """Return all arrays of a trajectory."""
    return {name: node.get_array(name) for name in node.get_arraynames()}


def input_structure(job: orm.CalcJobNode | None) -> orm.StructureData | None:
    """Return the structure that a job was given, None if it is not there."""
    structure = None if job is None or 'structure' not in job.inputs else job.inputs.structure
    return structure if isinstance(structure, orm.StructureData) else None


def positions_and_cell(structure: orm.StructureData) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the positions, shape (n, 3), and the cell, shape (3, 3), of a structure in angstrom."""
    return np.array([site.position for site in structure.sites]).reshape(-1, 3), np.array(structure.cell)


def keywords(job: orm.CalcJobNode, *names: str) -> dict[str, Any]:
    """Return a section of the parameters of a job; neither case nor absence matters.

    :param names: of the sections on the way.
    """
    section: Any = job.inputs.parameters.get_dict() if 'parameters' in job.inputs else {}
    for name in names:
        section = {str(key).lower(): value for key, value in section.items()}.get(name.lower())
        if not isinstance(section, Mapping):
            return {}
    return {str(key).lower(): value for key, value in section.items()}


def named(node: orm.ProcessNode) -> str:
    """Return how messages name a process."""
    return f'{node.process_label}<{node.pk}>'

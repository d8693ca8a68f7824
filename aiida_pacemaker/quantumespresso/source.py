"""Trajectories of pw.x by aiida-quantumespresso."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from aiida import orm
from aiida.common.links import LinkType

from aiida_pacemaker.frames.ase_io.convergence import MAX_INACCURACY
from aiida_pacemaker.frames.pairing import Pairing, moved_one_step, pairing_of
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.quantumespresso.convention import QUANTUM_ESPRESSO
from aiida_pacemaker.quantumespresso.functions import collect_labels
from aiida_pacemaker.quantumespresso.theory import theory_of_pw
from aiida_pacemaker.sources.base import (
    Arrays,
    TrajectorySource,
    input_structure,
    keywords,
    named,
    positions_and_cell,
    stored_arrays,
)

#: Since this version the plugin takes the structures of a run from the XML file, each with its own labels. Before, it
#: took them from the standard output, where pw.x prints each after its step, and the last one twice.
FIRST_WITH_XML = (4, 14)
#: The XML file of pw.x, by the names that it has had.
XML_FILES = {'data-file-schema.xml', 'data-file.xml'}
#: Why a version is not believed.
AGREE = 'its first structure, energies and forces say so, whatever version the calculation has noted'
#: Kinds of calculation with one structure, which stays as it is.
NOTHING_MOVES = ('scf', 'nscf', 'bands')
#: In angstrom: positions printed in the output agree with those of the input structure to this.
SAME_POSITIONS = 1e-5
#: The labeller that makes labels of the results of its jobs in a further step.
LABELLER = 'QuantumEspressoLabelWorkChain'
AGAIN = (
    'aiida-quantumespresso 4.14 or newer reads them from the XML file: have the calculation parsed again with it '
    "(`ParserFactory('quantumespresso.pw').parse_from_node(job, retrieved_temporary_folder=orm.FolderData())`), or "
    'leave this trajectory out'
)


class PwSource(TrajectorySource):
    """The `output_trajectory` of a `PwCalculation`: stress in GPa, compression positive."""

    convention = QUANTUM_ESPRESSO
    process_types = (
        'aiida_quantumespresso.calculations.pw.PwCalculation',
        'aiida_quantumespresso.calculations.pwimmigrant.PwimmigrantCalculation',
    )
    own_arrays = frozenset({'energy_hartree', 'scf_iterations', 'energy_accuracy', 'energy_ewald'})
    run_time = ('output_parameters', 'wall_time_seconds')
    unconverged_exits: ClassVar = {
        410: 'ERROR_ELECTRONIC_CONVERGENCE_NOT_REACHED',
        510: 'ERROR_IONIC_CYCLE_ELECTRONIC_CONVERGENCE_NOT_REACHED',
        710: 'WARNING_ELECTRONIC_CONVERGENCE_NOT_REACHED',
    }

    def arrays(
        self, node: orm.TrajectoryData, job: orm.CalcJobNode | None, *, labelled: bool
    ) -> tuple[Arrays, int, list[str]]:
        """Return the arrays with each structure beside its own labels, whichever version of the plugin made them.

        :raises ValueError: if the labels are those of the structures before, and the first of these is not there.
        """
        arrays = stored_arrays(node)
        if not labelled or 'positions' not in arrays or not ({'energy', 'forces'} & set(arrays)):
            return arrays, 0, []
        pairing, why = self._pairing(node, arrays, job)
        if pairing is Pairing.OWN:
            return arrays, 0, []
        steps = len(arrays['positions'])
        if pairing is Pairing.UNKNOWN:
            return (
                arrays,
                0,
                [
                    f'whether the labels of {steps} frames belong to their structures is not known: {why}. Up to '
                    'version 4.13 aiida-quantumespresso gave labels to the structure that follows. Merge the '
                    'trajectory together with the calculation that made it'
                ],
            )
        if job is not None and str(keywords(job, 'control').get('restart_mode', '')) == 'restart':
            return (
                moved_one_step(arrays, None, None),
                1,
                [
                    f'the first of {steps} steps is left out: {why}, and {named(job)} is the restart of another run, '
                    'so the structure that it began with is not known'
                ],
            )
        structure = input_structure(job)
        if structure is None:
            raise ValueError(
                f'its structures are one step behind its labels ({why}), and the structure of the first step, '
                f'the input `structure` of the calculation, is not there. {AGAIN}'
            )
        return moved_one_step(arrays, *positions_and_cell(structure)), 0, []

    def _pairing(self, node: orm.TrajectoryData, arrays: Arrays, job: orm.CalcJobNode | None) -> tuple[Pairing, str]:
        """Tell whether structures stand beside their own labels, and by what."""
        told = _told_by_job(node, job)
        if told is not None and told[0] is Pairing.OWN and len(arrays['positions']) == 1:
            return told
        structure = input_structure(job)
        by_labels = pairing_of(*_in_ase_units(arrays))
        if told is not None:
            # A version of the development between two releases has the number of the earlier one.
            starts_with = structure is not None and _starts_with(arrays, structure)
            agree = structure is not None and by_labels is (Pairing.OWN if starts_with else Pairing.NEXT)
            return (by_labels, AGREE) if agree and by_labels is not told[0] else told
        if by_labels is Pairing.UNKNOWN and structure is not None:
            moved = Pairing.OWN if _starts_with(arrays, structure) else Pairing.NEXT
            return moved, 'its first structure is not the one that the calculation was given'
        if by_labels is Pairing.UNKNOWN and job is None and len(arrays['positions']) == 1:
            # As of a single scf calculation.
            return Pairing.OWN, ''
        return by_labels, 'by energies and forces along the path; the version of the plugin is not known'

    def unconverged(
        self, arrays: Mapping[str, npt.NDArray[Any]], job: orm.CalcJobNode | None, n_frames: int, n_atoms: int
    ) -> dict[int, str]:
        """Return the steps whose energy pw.x itself calls inaccurate, and the last one where its exit code says so."""
        accuracy = np.abs(np.ravel(arrays.get('energy_accuracy', ())))[:n_frames] / max(n_atoms, 1)
        found = {
            row: f'pw.x estimates the accuracy of its energy as {accuracy[row]:.3g} eV/atom, at most '
            f'{MAX_INACCURACY:g} is needed: converge it, or merge with `allow_unconverged=True`'
            for row in np.flatnonzero(accuracy > MAX_INACCURACY).tolist()
        }
        return super().unconverged(arrays, job, n_frames, n_atoms) | found

    def level_of_theory(self, node: orm.TrajectoryData, job: orm.CalcJobNode) -> LevelOfTheory | None:
        """Read the level of theory from the inputs and the output parameters."""
        # Of a graph that was imported in part there may be less than what tells the level.
        return theory_of_pw(job) if {'parameters', 'kpoints'} <= set(job.inputs) else None

    def results(self, labeller: orm.ProcessNode) -> dict[str, list[orm.TrajectoryData]]:
        """Return what the calculations of our labeller have given: the program has read rounded positions."""
        if labeller.process_label != LABELLER:
            return {}
        frames = labeller.base.links.get_outgoing(link_type=LinkType.CALL_WORK, link_label_filter='frame_%').all()
        return {
            link.link_label: [
                trajectory
                for job in link.node.called
                if isinstance(job, orm.CalcJobNode) and job.is_finished_ok
                for trajectory in self.trajectories(job)
            ]
            for link in frames
        }

    def collect(self, labeller: orm.ProcessNode, results: Mapping[str, orm.TrajectoryData]) -> list[orm.TrajectoryData]:
        """Return the labels of some results of our labeller."""
        outputs = collect_labels(dataset=labeller.inputs.dataset, **results)
        return [node for node in outputs.values() if isinstance(node, orm.TrajectoryData)]


def plugin_version(job: orm.CalcJobNode) -> tuple[int, int] | None:
    """Return major and minor version of the plugin that a job was parsed with, None if it is not noted."""
    version = (job.base.attributes.get('version', None) or {}).get('plugin')
    match = re.match(r'(\d+)\.(\d+)', str(version))
    return None if match is None else (int(match[1]), int(match[2]))


def _told_by_job(node: orm.TrajectoryData, job: orm.CalcJobNode | None) -> tuple[Pairing, str] | None:
    """Tell by the kind of calculation and the version of the plugin how structures and labels go together."""
    if job is None:
        return None
    if 'parameters' in job.inputs and str(keywords(job, 'control').get('calculation', 'scf')) in NOTHING_MOVES:
        return Pairing.OWN, 'nothing moves'
    # What was parsed again may be of another version than the job.
    version = plugin_version(job) if node.creator is not None and node.creator.pk == job.pk else None
    if version is None:
        return None
    if version < FIRST_WITH_XML:
        return Pairing.NEXT, f'it is of aiida-quantumespresso {version[0]}.{version[1]}'
    if _parsed_without_xml(job):
        return Pairing.NEXT, f'{named(job)} was parsed without the XML file'
    return Pairing.OWN, 'structures are those of the XML file'


def _parsed_without_xml(job: orm.CalcJobNode) -> bool:
    """Tell whether the structures had to be taken from the standard output although the plugin prefers the XML file."""
    if not job.base.attributes.get('without_xml', False):
        return False
    if 'retrieved' not in job.outputs:
        return True
    return not XML_FILES & set(job.outputs.retrieved.base.repository.list_object_names())


def _starts_with(arrays: Arrays, structure: orm.StructureData) -> bool:
    """Tell whether the first step of a trajectory is a structure."""
    positions, cell = positions_and_cell(structure)
    if arrays['positions'].shape[1:] != positions.shape:
        return False
    same = np.abs(arrays['positions'][0] - positions).max(initial=0.0) < SAME_POSITIONS
    return bool(same and ('cells' not in arrays or np.abs(arrays['cells'][0] - cell).max() < SAME_POSITIONS))


def _in_ase_units(arrays: Arrays) -> tuple[Any, Any, Any, Any, Any]:
    found = QUANTUM_ESPRESSO.standard(arrays)
    return found['positions'], found.get('cells'), found.get('energy'), found.get('forces'), found.get('stress')

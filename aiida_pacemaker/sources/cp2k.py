"""Trajectories of CP2K by aiida-cp2k."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from aiida import orm
from ase import units

from aiida_pacemaker.frames.conventions import Convention
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.sources.base import (
    Arrays,
    TrajectorySource,
    input_structure,
    keywords,
    named,
    positions_and_cell,
    stored_arrays,
)

#: `output_trajectory` of aiida-cp2k: its files of positions and cells are in angstrom, all else in atomic units. The
#: energy is that of CP2K's force evaluation, with the electronic entropy.
CP2K = Convention(
    'cp2k',
    'hartree, hartree/bohr, no stress, positions in Å',
    energy=('energies', 'energy'),
    energy_factor=units.Hartree,
    forces_factor=units.Hartree / units.Bohr,
)
#: What CP2K prints where a self-consistent field has not converged, and goes on if it is told to.
NOT_CONVERGED = 'SCF run NOT converged'
#: Types of run in which the cell changes.
CELL_CHANGES = ('CELL_OPT', 'NPT_I', 'NPT_F', 'NPE_I', 'NPE_F', 'NPT_IA', 'REFTRAJ', 'MSST', 'MSST_DAMPED')
#: Units in which files of the trajectory can be printed, by the section of the input that says so, with the default.
UNITS = {'trajectory': ('angstrom',), 'forces': ('hartree*bohr^-1', 'bohr^-1*hartree', 'hartree/bohr')}
#: Keywords and sections of DFT that change no energy.
NOT_DECIDING = frozenset({'print', 'restart_file_name', 'wfn_restart_file_name', 'scf', 'potential_file_name'})
#: Names of the keyword that makes a calculation spin-polarised.
POLARISED = ('uks', 'lsd', 'unrestricted_kohn_sham', 'spin_polarized')


class Cp2kSource(TrajectorySource):
    """The `output_trajectory` of a `Cp2kCalculation`: hartree and hartree/bohr, positions in angstrom, no stress."""

    convention = CP2K
    process_types = ('aiida_cp2k.calculations.Cp2kCalculation',)
    unconverged_exits: ClassVar = {450: 'ERROR_SCF_NOT_CONVERGED'}

    def recognises(self, node: orm.TrajectoryData) -> Literal['yes', 'maybe', 'no']:
        """Suspect a trajectory with `energies`: others may use this name in other units."""
        return 'maybe' if 'energies' in node.get_arraynames() else 'no'

    def arrays(
        self, node: orm.TrajectoryData, job: orm.CalcJobNode | None, *, labelled: bool
    ) -> tuple[Arrays, int, list[str]]:
        """Return the arrays, with the cell of the input structure where it does not change and was not printed.

        :raises ValueError: if the cells are not known, or if the files were printed in other units.
        """
        arrays = stored_arrays(node)
        if job is not None:
            for section, allowed in UNITS.items():
                unit = str(keywords(job, 'motion', 'print', section).get('unit', allowed[0])).strip('[]').lower()
                if unit not in allowed:
                    raise ValueError(
                        f'{named(job)} has printed `MOTION/PRINT/{section.upper()}` in {unit}, {allowed[0]} is needed'
                    )
        if 'cells' not in arrays:
            arrays['cells'] = self._cells(job, len(arrays.get('positions', ())))
        return arrays, 0, []

    def _cells(self, job: orm.CalcJobNode | None, steps: int) -> npt.NDArray[np.float64]:
        structure = input_structure(job)
        ensemble = str(keywords(job, 'motion', 'md').get('ensemble', '')) if job is not None else ''
        run = str(keywords(job, 'global').get('run_type', '')) if job is not None else ''
        if structure is None or {ensemble.upper(), run.upper()} & set(CELL_CHANGES):
            raise ValueError(
                'CP2K has printed no cells, so it is not known whether and how the frames are periodic: have them '
                'printed (`MOTION/PRINT/CELL`), or make a trajectory with `cells` and `pbc` of your own'
            )
        return np.tile(positions_and_cell(structure)[1], (steps, 1, 1))

    def pbc(self, node: orm.TrajectoryData, job: orm.CalcJobNode | None) -> tuple[bool, bool, bool] | None:
        """Return what the input of CP2K says, which is periodic by default; AiiDA notes none where no cells are."""
        if job is None:
            return super().pbc(node, job)
        periodic = str(keywords(job, 'force_eval', 'subsys', 'cell').get('periodic', 'XYZ')).upper()
        return ('X' in periodic, 'Y' in periodic, 'Z' in periodic)

    def unconverged(
        self, arrays: Mapping[str, npt.NDArray[Any]], job: orm.CalcJobNode | None, n_frames: int, n_atoms: int
    ) -> dict[int, str]:
        """Return the steps that the output calls not converged."""
        found = super().unconverged(arrays, job, n_frames, n_atoms)
        if job is None:
            return found
        said = job.outputs.output_parameters.get_dict() if 'output_parameters' in job.outputs else {}
        converged = (said.get('motion_step_info') or {}).get('scf_converged')
        if converged and len(converged) == n_frames:
            return found | {
                row: f'the output of {named(job)} says of its step {row}: {NOT_CONVERGED}'
                for row, good in enumerate(converged)
                if not good
            }
        if (not all(converged)) if converged else _is_printed(job, NOT_CONVERGED):
            reason = (
                f'the output of {named(job)} says of some step: {NOT_CONVERGED}; which of its {n_frames} it was is not '
                'known (the parser `cp2k_advanced_parser` tells). Converge them, or merge with `allow_unconverged=True`'
            )
            return found | dict.fromkeys(range(n_frames), reason)
        return found

    def level_of_theory(self, node: orm.TrajectoryData, job: orm.CalcJobNode) -> LevelOfTheory | None:
        """Read the level of theory from the sections DFT and KIND."""
        dft = keywords(job, 'force_eval', 'dft')
        if not dft:
            return None
        said = job.outputs.output_parameters.get_dict() if 'output_parameters' in job.outputs else {}
        functional = keywords(job, 'force_eval', 'dft', 'xc').get('xc_functional')
        name = functional.get('_') if isinstance(functional, Mapping) else functional
        version = said.get('cp2k_version')
        spin = any(str(dft.get(key, '')).strip('.').upper() in ('T', 'TRUE') for key in POLARISED)
        return LevelOfTheory(
            code='cp2k',
            version=None if version is None else str(version),
            functional=None if name is None else str(name),
            spin='collinear' if spin else 'none',
            arguments={
                'dft': {key: value for key, value in sorted(dft.items()) if key not in NOT_DECIDING},
                **_kinds(job),
            },
        )


def _kinds(job: orm.CalcJobNode) -> dict[str, Any]:
    """Return basis set and pseudopotential of each kind of atom."""
    kinds = keywords(job, 'force_eval', 'subsys').get('kind', [])
    listed = [kinds] if isinstance(kinds, Mapping) else list(kinds)
    by_kind = {}
    for kind in listed:
        said = {str(key).lower(): value for key, value in kind.items()}
        label = str(said.pop('_', said.get('element', '')))
        by_kind[str(said.pop('element', label))] = said
    return {'kinds': dict(sorted(by_kind.items()))} if by_kind else {}


def _is_printed(job: orm.CalcJobNode, text: str) -> bool:
    """Tell whether the output of a job has a text; False if it was not kept."""
    name = job.base.attributes.get('output_filename', None)
    if name is None or 'retrieved' not in job.outputs:
        return False
    repository = job.outputs.retrieved.base.repository
    if name not in repository.list_object_names():
        return False
    with repository.open(name, mode='rb') as handle:
        return any(text.encode() in line for line in handle)

"""Trajectories of VASP by aiida-vasp."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from aiida import orm
from ase import units

from aiida_pacemaker.frames.ase_io.convergence import unconverged
from aiida_pacemaker.frames.conventions import Convention
from aiida_pacemaker.frames.fractional import within_unit_cube
from aiida_pacemaker.frames.theory import Cutoffs, LevelOfTheory, Pseudopotential, Smearing
from aiida_pacemaker.sources.base import Arrays, TrajectorySource, keywords, named, stored_arrays

#: `trajectory` of aiida-vasp, the arrays of vasprun.xml. `energy_free` is what forces belong to.
VASP = Convention(
    'vasp',
    'eV, eV/Å, kbar with compression positive, fractional positions',
    energy=('energy_free', 'energy_extrapolated', 'energy_no_entropy', 'energy'),
    stress_factor=-0.1 * units.GPa,
    fractional=True,
)
#: The energy that forces belong to.
FREE = 'energy_free'
#: Files that tell which steps have converged, by what ASE calls their formats; the plugin keeps them.
FILES = (('vasprun.xml', 'vasp-xml'), ('OUTCAR', 'vasp-out'))
#: Default of NELM, the largest number of electronic steps.
NELM = 60
#: Keywords of INCAR that are said elsewhere, or that change how, but not what is computed for a given structure.
NOT_DECIDING = frozenset(
    {
        *('encut', 'ismear', 'sigma', 'ispin', 'lnoncollinear', 'lsorbit', 'kspacing', 'kgamma', 'system', 'gga'),
        *('magmom', 'nbands', 'ibrion', 'nsw', 'isif', 'potim', 'ediffg', 'smass', 'tebeg', 'teend', 'mdalgo'),
        *('langevin_gamma', 'langevin_gamma_l', 'pmass', 'nblock', 'kblock', 'random_seed', 'symprec', 'isym'),
        *('andersen_prob', 'nfree', 'ediff', 'nelm', 'nelmin', 'nelmdl', 'algo', 'ialgo', 'iwavpr', 'istart'),
        *('icharg', 'amix', 'bmix', 'amin', 'imix', 'maxmix', 'amix_mag', 'bmix_mag', 'ncore', 'npar', 'kpar'),
        *('nsim', 'lplane', 'lscalapack', 'lscalu', 'lwave', 'lcharg', 'laechg', 'lvtot', 'lvhar', 'lelf'),
        *('lorbit', 'nwrite', 'nedos', 'emin', 'emax', 'loptics', 'lepsilon'),
    }
)


class VaspSource(TrajectorySource):
    """The `trajectory` of a `VaspCalculation`: the arrays of vasprun.xml, positions fractional, stress in kbar."""

    convention = VASP
    process_types = ('aiida_vasp.calcs.vasp.VaspCalculation', 'aiida_vasp.calcs.immigrant.VaspImmigrant')
    own_arrays = frozenset({FREE, 'energy_extrapolated', 'energy_no_entropy', 'electronic_steps'})
    outputs = ('trajectory',)
    run_time = ('misc', 'run_stats.elapsed_time')
    unconverged_exits: ClassVar = {701: 'ERROR_ELECTRONIC_NOT_CONVERGED'}

    def recognises(self, node: orm.TrajectoryData) -> Literal['yes', 'maybe', 'no']:
        """Recognise a trajectory with an energy of VASP and with positions that may be fractional."""
        names = set(node.get_arraynames())
        if not self.own_arrays & names:
            return 'no'
        certain = 'energy' not in names and 'positions' in names and within_unit_cube(node.get_array('positions'))
        return 'yes' if certain else 'maybe'

    def arrays(
        self, node: orm.TrajectoryData, job: orm.CalcJobNode | None, *, labelled: bool
    ) -> tuple[Arrays, int, list[str]]:
        """Return the arrays, with the energies of a separate output where the trajectory has none."""
        arrays = stored_arrays(node)
        if job is not None and 'energies' in job.outputs and not set(VASP.energy) & set(arrays):
            energies = job.outputs.energies
            known = {*VASP.energy, 'electronic_steps'} & set(energies.get_arraynames())
            steps = len(arrays.get('positions', ()))
            arrays |= {name: energies.get_array(name) for name in known if len(energies.get_array(name)) == steps}
        warnings = []
        used = next((name for name in VASP.energy if name in arrays), None)
        if labelled and used is not None and used != FREE:
            warnings.append(
                f'the energy of {len(arrays.get("positions", ()))} frame(s) is `{used}`, which is not what the forces '
                f'are the derivative of: with smearing they differ. Ask aiida-vasp for `{FREE}` (settings: '
                "`{'parser_settings': {'energy_type': ['energy_free', 'energy_extrapolated']}}`)"
            )
        return arrays, 0, warnings

    def unconverged(
        self, arrays: Mapping[str, npt.NDArray[Any]], job: orm.CalcJobNode | None, n_frames: int, n_atoms: int
    ) -> dict[int, str]:
        """Return the steps that took as many electronic steps as were allowed, or that the parser speaks of."""
        allowed = int(_incar(job).get('nelm', NELM)) if job is not None else NELM
        steps = np.ravel(arrays.get('electronic_steps', ()))
        found = dict.fromkeys(
            # Without the job NELM is not known: more than its default shows that it was raised.
            np.flatnonzero(steps[:n_frames] == allowed if job is None else steps[:n_frames] >= allowed).tolist(),
            f'VASP stopped after {allowed} electronic steps (NELM), before self-consistency: raise NELM, or merge with '
            '`allow_unconverged=True`',
        )
        if job is None:
            return found
        found |= super().unconverged(arrays, job, n_frames, n_atoms)
        if len(steps) == n_frames and (steps > 1).any():
            # The numbers of electronic steps are there, by which each step is judged.
            return found
        files = _printed(job, [n_atoms] * n_frames)
        if files is not None:
            return found | files
        status = _misc(job).get('run_status') or {}
        if status.get('contains_nelm_breach') or status.get('consistent_nelm_breach'):
            reason = (
                f'{named(job)} says that some of its steps stopped at NELM before self-consistency, and does not tell '
                'which: have them parsed with `electronic_step_energies`, or merge with `allow_unconverged=True`'
            )
            return dict.fromkeys(range(n_frames), reason)
        if status.get('electronic_converged') is False and n_frames:
            found[n_frames - 1] = f'{named(job)} says that its last step is not electronically converged'
        return found

    def level_of_theory(self, node: orm.TrajectoryData, job: orm.CalcJobNode) -> LevelOfTheory | None:
        """Read the level of theory from INCAR, POTCAR and k-points."""
        if not {'parameters', 'kpoints'} <= set(job.inputs):
            return None
        incar = _incar(job)
        arguments = {key: value for key, value in sorted(incar.items()) if key not in NOT_DECIDING}
        kpoints = _kpoints(job, incar)
        used = next((name for name in VASP.energy if name in node.get_arraynames()), None)
        smeared = int(incar.get('ismear', 1)) >= -1
        wavefunction = incar.get('encut')
        return LevelOfTheory(
            code='vasp',
            version=_misc(job).get('version'),
            functional=incar.get('gga') or incar.get('metagga'),
            pseudopotentials=_potentials(job),
            cutoffs=None if not wavefunction else Cutoffs(wavefunction=float(wavefunction)),
            smearing=Smearing(kind=f'ISMEAR = {incar.get("ismear", 1)}', width=float(incar.get('sigma', 0.2)))
            if smeared
            else Smearing(kind=f'ISMEAR = {incar["ismear"]}'),
            spin=_spin(incar),
            energy='extrapolated' if smeared and used not in (FREE, None) else None,
            kpoints_distance=kpoints.pop('distance', None),
            kpoints_mesh=kpoints.pop('mesh', None),
            arguments={**arguments, **kpoints},
        )


def _incar(job: orm.CalcJobNode) -> dict[str, Any]:
    """Return the keywords of INCAR in lower case."""
    return keywords(job, 'incar') or keywords(job)


def _misc(job: orm.CalcJobNode) -> dict[str, Any]:
    found: dict[str, Any] = job.outputs.misc.get_dict() if 'misc' in job.outputs else {}
    return found


def _printed(job: orm.CalcJobNode, sizes: list[int]) -> dict[int, str] | None:
    """Return what the files of a job say of the convergence of its steps, None if none was kept."""
    if 'retrieved' not in job.outputs:
        return None
    repository = job.outputs.retrieved.base.repository
    kept = repository.list_object_names()
    for name, file_format in FILES:
        if name in kept:
            return unconverged(
                repository.get_object_content(name, mode='rb').decode(errors='replace'), file_format, sizes
            )
    return None


def _spin(incar: Mapping[str, Any]) -> str:
    if incar.get('lsorbit'):
        return 'spin-orbit'
    if incar.get('lnoncollinear'):
        return 'non-collinear'
    return 'collinear' if incar.get('ispin') == 2 else 'none'


def _potentials(job: orm.CalcJobNode) -> dict[str, Pseudopotential]:
    """Return the POTCARs by element: aiida-vasp keeps a hash of each, of which as many digits are taken as md5 has."""
    potentials: dict[str, Pseudopotential] = {}
    for node in job.base.links.get_incoming(link_label_filter='potential__%').all_nodes():
        said = node.base.attributes.all
        element, digest = said.get('element'), said.get('sha512')
        if element and digest:
            potentials[str(element)] = Pseudopotential(
                md5=str(digest)[:32],
                filename=said.get('full_name') or said.get('symbol'),
                family=said.get('functional'),
            )
    return potentials


def _kpoints(job: orm.CalcJobNode, incar: Mapping[str, Any]) -> dict[str, Any]:
    """Return the distance of k-points, their mesh, or a hash of their list."""
    caller = job.caller
    if caller is not None and 'kpoints_spacing' in caller.inputs and 'kpoints' not in caller.inputs:
        return {'distance': caller.inputs.kpoints_spacing.value * 2 * np.pi}
    if 'kspacing' in incar:
        return {'distance': float(incar['kspacing'])}
    kpoints = job.inputs.kpoints
    try:
        mesh, offset = kpoints.get_kpoints_mesh()
    except AttributeError:
        listed = json.dumps(np.asarray(kpoints.get_kpoints()).tolist())
        return {'kpoints': hashlib.sha256(listed.encode()).hexdigest()[:16]}
    return {'mesh': list(mesh), **({'kpoints_offset': list(offset)} if any(offset) else {})}

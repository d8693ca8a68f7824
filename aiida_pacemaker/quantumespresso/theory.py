"""The level of theory of a calculation of pw.x, from what it was given and what it said of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from aiida import orm
from ase import units

from aiida_pacemaker.frames.theory import Cutoffs, LevelOfTheory, Pseudopotential, Smearing

#: Where aiida-quantumespresso keeps the Hubbard parameters of a structure.
HUBBARD = 'hubbard.json'

#: Keywords of the namelist SYSTEM that are said elsewhere, or that change what is computed or printed but no energy.
NOT_DECIDING = frozenset(
    {
        *('ibrav', 'celldm', 'a', 'b', 'c', 'cosab', 'cosac', 'cosbc', 'nat', 'ntyp', 'nbnd', 'space_group', 'uniqueb'),
        *('nosym', 'nosym_evc', 'noinv', 'no_t_rev', 'force_symmorphic', 'use_all_frac', 'report', 'origin_choice'),
        *('ecutwfc', 'ecutrho', 'occupations', 'smearing', 'degauss', 'nspin', 'noncolin', 'lspinorb', 'rhombohedral'),
    }
)


def theory_of_pw(job: orm.CalcJobNode) -> LevelOfTheory:
    """Return the level of theory of a `PwCalculation`, from what it was given and what it said of itself."""
    parameters = {str(key).upper(): value for key, value in job.inputs.parameters.get_dict().items()}
    system = {str(key).lower(): value for key, value in (parameters.get('SYSTEM') or {}).items()}
    said = job.outputs.output_parameters.get_dict() if 'output_parameters' in job.outputs else {}
    arguments = {key: value for key, value in sorted(system.items()) if key not in NOT_DECIDING}
    kpoints = _kpoints_of_pw(job)
    return LevelOfTheory(
        code='quantumespresso.pw',
        version=said.get('creator_version'),
        functional=said.get('dft_exchange_correlation'),
        pseudopotentials=_pseudopotentials(job),
        cutoffs=_cutoffs(system, said),
        smearing=_smearing(system),
        spin=_spin(system),
        kpoints_distance=kpoints.pop('distance', None),
        kpoints_mesh=kpoints.pop('mesh', None),
        arguments={**arguments, **_hubbard(job), **kpoints},
    )


def _pseudopotentials(job: orm.CalcJobNode) -> dict[str, Pseudopotential]:
    """Return the pseudopotentials of a calculation by element; one family is looked for that has them all."""
    pseudos: list[Any] = job.base.links.get_incoming(link_label_filter='pseudos__%').all_nodes()
    families = [_families(pseudo) for pseudo in pseudos]
    common = sorted(set.intersection(*families)) if families else []
    return {
        str(pseudo.element): Pseudopotential(
            md5=pseudo.md5, filename=pseudo.filename, family=common[0] if common else None
        )
        for pseudo in pseudos
    }


def _families(pseudo: orm.Data) -> set[str]:
    query = orm.QueryBuilder()
    query.append(type(pseudo), filters={'uuid': pseudo.uuid}, tag='pseudo')
    query.append(orm.Group, filters={'type_string': {'like': 'pseudo.family%'}}, with_node='pseudo', project='label')
    return set(query.all(flat=True))


def _in_ev(rydberg: float) -> float:
    """Return an energy in eV, with no more digits than AiiDA stores."""
    return float(f'{rydberg * units.Ry:.10g}')


def _cutoffs(system: Mapping[str, Any], said: Mapping[str, Any]) -> Cutoffs | None:
    """Return the cutoffs in eV: as given, and that of the density as the code has chosen it if it was not given."""
    wavefunction, density = system.get('ecutwfc'), system.get('ecutrho')
    if wavefunction is None:
        return None
    in_ev = said.get('rho_cutoff') if density is None else _in_ev(density)
    return Cutoffs(wavefunction=_in_ev(wavefunction), density=in_ev)


def _smearing(system: Mapping[str, Any]) -> Smearing | None:
    occupations = str(system.get('occupations', 'fixed')).lower()
    if occupations == 'fixed':
        return None
    if occupations != 'smearing':
        return Smearing(kind=occupations)
    kind = str(system.get('smearing', 'gaussian')).lower()
    return Smearing(kind=kind, width=_in_ev(system.get('degauss', 0.0)))


def _spin(system: Mapping[str, Any]) -> str:
    if system.get('lspinorb'):
        return 'spin-orbit'
    if system.get('noncolin') or system.get('nspin') == 4:
        return 'non-collinear'
    return 'collinear' if system.get('nspin') == 2 else 'none'


def _hubbard(job: orm.CalcJobNode) -> dict[str, Any]:
    """Return the Hubbard parameters of a structure by element, without its sites, which each frame has of its own."""
    structure: Any = job.inputs.structure if 'structure' in job.inputs else None
    if structure is None or HUBBARD not in structure.base.repository.list_object_names():
        return {}
    content = structure.base.repository.get_object_content(HUBBARD, mode='rb')
    try:
        record = json.loads(content)
        record = json.loads(record) if isinstance(record, str) else record
        symbols = [structure.get_kind(site.kind_name).symbol for site in structure.sites]
        values: dict[str, dict[str, set[float]]] = {}
        for entry in record['parameters']:
            element, neighbour = symbols[entry['atom_index']], symbols[entry['neighbour_index']]
            name = f'{entry["hubbard_type"]} {entry["atom_manifold"]}-{entry["neighbour_manifold"]} {neighbour}'
            values.setdefault(element, {}).setdefault(name, set()).add(float(entry['value']))
    except (ValueError, TypeError, KeyError, IndexError):
        return {'hubbard': hashlib.sha256(content).hexdigest()[:16]}
    if not values:
        return {}
    kind = [str(record.get(key)) for key in ('projectors', 'formulation')]
    by_element = {element: {name: sorted(found) for name, found in of.items()} for element, of in values.items()}
    return {'hubbard': by_element, 'hubbard_kind': kind}


def _kpoints_of_pw(job: orm.CalcJobNode) -> dict[str, Any]:
    """Return the distance that the work chain behind a calculation was given, or else the mesh or list of k-points."""
    caller = job.caller
    if caller is not None and 'kpoints_distance' in caller.inputs and 'kpoints' not in caller.inputs:
        return {'distance': caller.inputs.kpoints_distance.value}
    kpoints = job.inputs.kpoints
    try:
        mesh, offset = kpoints.get_kpoints_mesh()
    except AttributeError:
        points = kpoints.get_kpoints(also_weights='weights' in kpoints.get_arraynames())
        listed = [part.tolist() for part in points] if isinstance(points, tuple) else points.tolist()
        return {'kpoints': hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]}
    return {'mesh': list(mesh), **({'kpoints_offset': list(offset)} if any(offset) else {})}

"""What happens where atoms collide: what a baseline asks of the engine, and what the engine leaves in potentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.errors import ConfigError, PotentialFileError
from aiida_pacemaker.pace.config.potential_checks import bonds_of
from aiida_pacemaker.pace.config.species import GROUPS, species_of
from aiida_pacemaker.pace.output.potentials import blocks_of_pairs

#: What the engine has in a potential that has no core: those of one that it has just made.
NO_CORE: dict[str, Any] = {
    'r_in': 0,
    'delta_in': 0,
    'inner_cutoff_type': 'distance',
    'core-repulsion': [0, 0],
    'rho_core_cut': 100000,
    'drho_core_cut': 250,
}
_LINE = re.compile(rf'^(\s+(?:- )?)({"|".join(NO_CORE)}):.*$')
_BLOCK = re.compile(r'^\s*- speciesblock:\s*(.*?)\s*$')


def use_baseline(sections: dict[str, Any], baseline: DeltaBaseline, *, keep_core: bool = False) -> None:
    """Write into the sections of an input what a baseline asks of the engine at short range.

    :param sections: of the engine's input; ``fit`` and ``potential`` are changed.
    :param baseline: what is subtracted from the labels.
    :param keep_core: whether the fit continues from a potential whose ZBL core stays as it is, in the mode `core`; else
        the engine sets it after the fit.
    :raises ConfigError: if atoms that collide would repel each other twice, or if nothing would be left to ACE.
    """
    potential, fit = sections['potential'], sections['fit']
    if baseline.repels:
        _refuse_second_repulsion(potential, fit, baseline)
    if baseline.engine_repulsion and not keep_core:
        fit['repulsion'] = 'auto'
    for key, names in overwritten_by_auto(potential).items() if fit.get('repulsion') == 'auto' else ():
        raise ConfigError(
            f'potential.bonds.{key}: {", ".join(names)} would be overwritten by the ZBL of the engine '
            f'(baseline {baseline.mode}, or fit.repulsion auto); needed: only one of them'
        )
    cutoffs = baseline.engine_inner_cutoffs(potential['elements'])
    if cutoffs:
        _refuse_overwritten(potential, 'the baseline')
        _refuse_all(potential, cutoffs)
        potential['bonds'] = _with_cutoffs(potential['bonds'], cutoffs)


def overwritten_by_auto(potential: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the short-range settings of bonds that ``repulsion: auto`` overwrites after a fit that was made with them.

    Others, such as ``inner_cutoff_type`` alone or ``rho_core_cut``, change nothing beside it: the inner cutoff is zero
    during the fit.

    :param potential: the section of the engine's input.
    :returns: names of settings by the key of the bond.
    """
    found = {}
    for key, bond in potential['bonds'].items():
        names = [name for name in ('r_in', 'delta_in') if bond.get(name)]
        names += ['core-repulsion'] if (bond.get('core-repulsion') or (0,))[0] else []
        if names:
            found[key] = names
    return found


def zbl_cores(content: bytes) -> dict[tuple[str, str], float]:
    """Return where a B-basis potential switches to the engine's own ZBL: the inner cutoffs in angstrom, by pair.

    :param content: the content of the ``.yaml``.
    :returns: of the pairs that have such a core, by the two symbols in alphabetical order.
    :raises PotentialFileError: if it is not such a potential.
    """
    if b'zbl' not in content:
        return {}
    cores = {
        (min(pair), max(pair)): float(block.get('r_in', 0))
        for pair, block in blocks_of_pairs(content).items()
        if block.get('inner_cutoff_type') == 'zbl'
    }
    return {pair: r_in for pair, r_in in cores.items() if r_in > 0}


def initial_potential(content: str, baseline: DeltaBaseline, repulsion: str | None) -> str:
    """Return a B-basis potential to start from with the short range that a fit is to begin with.

    After a fit with ``repulsion: auto`` the engine writes the shortest distances of its data into the potential as
    inner cutoffs of a ZBL core. A fit that begins with these has no ACE where new data come closer: it cannot fit them,
    and says nothing. So they are taken back, and the engine sets them anew at its end. Inner cutoffs of a baseline
    (mode ``both``) are set to those of the baseline.

    :param content: the content of the ``.yaml``.
    :param baseline: what is subtracted from the labels.
    :param repulsion: ``fit.repulsion`` of the input.
    :raises PotentialFileError: if it is no such potential, or is not written as the engine writes it.
    """
    if repulsion == 'auto':
        return _rewritten(content, lambda _: NO_CORE)
    if baseline.mode != 'both':
        return content
    elements = sorted({symbol for pair in blocks_of_pairs(content.encode()) for symbol in pair})
    cutoffs = baseline.engine_inner_cutoffs(elements)
    return _rewritten(content, lambda pair: cutoffs[min(pair), max(pair)])


def _rewritten(content: str, wanted: Any) -> str:
    """Return a potential with other values in the lines that say what happens at short range."""
    lines: list[str] = []
    values: dict[str, Any] = {}
    for line in content.splitlines(keepends=True):
        if start := _BLOCK.match(line):
            species = tuple(start[1].split())
            values = dict(wanted((species[0], species[-1]))) if 1 <= len(species) <= 2 else {}
        found = _LINE.match(line.rstrip('\r\n'))
        known = found is not None and found[2] in values
        lines.append(f'{found[1]}{found[2]}: {_written(values[found[2]])}\n' if found and known else line)
    rewritten = ''.join(lines)
    for pair, block in blocks_of_pairs(rewritten.encode()).items():
        for key, value in wanted(pair).items():
            if key in block and block[key] != _as_read(value):
                raise PotentialFileError(
                    f'its `{key}` of {"-".join(pair)} cannot be set to {value}, which the fit needs to begin with: the '
                    'file is not written as the engine writes it. Read it with pyace.BBasisConfiguration and save it'
                )
    return rewritten


def _written(value: Any) -> str:
    return f'[{", ".join(map(_written, value))}]' if isinstance(value, list) else str(value)


def _as_read(value: Any) -> Any:
    return list(map(str, value)) if isinstance(value, list) else str(value)


def _refuse_second_repulsion(potential: dict[str, Any], fit: dict[str, Any], baseline: DeltaBaseline) -> None:
    found = []
    if fit.get('repulsion') == 'auto':
        found.append('fit.repulsion: found auto')
    found += [
        f'potential.bonds.{key}: found inner_cutoff_type zbl'
        for key, bond in potential['bonds'].items()
        if bond.get('inner_cutoff_type') == 'zbl'
    ]
    if found:
        raise ConfigError(
            f'{"; ".join(found)}, by which the engine adds ZBL, and the baseline (mode {baseline.mode}) adds it too: '
            'atoms that collide would repel each other twice; needed: one of them. Leave it out, or give a baseline '
            "that leaves ZBL to the engine, DeltaBaseline.for_elements(elements, mode='core')"
        )


def _refuse_overwritten(potential: dict[str, Any], by: str) -> None:
    """Refuse short-range settings that would be overwritten."""
    for section in ('bonds', 'embeddings'):
        for key, specification in potential[section].items():
            overwritten = sorted(set(NO_CORE) & set(specification))
            if overwritten:
                raise ConfigError(
                    f'potential.{section}.{key}: {", ".join(overwritten)} would be overwritten by {by}; needed: only '
                    'one of them'
                )


def _refuse_all(potential: dict[str, Any], cutoffs: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Refuse inner cutoffs that leave nothing to ACE."""
    bonds = bonds_of(potential)
    for pair, cutoff in cutoffs.items():
        rcut = bonds[pair].get('rcut', float('inf'))
        if cutoff['r_in'] >= rcut:
            raise ConfigError(
                f'the baseline (mode both) switches ACE off for {"-".join(pair)} up to outer = {cutoff["r_in"]:g} Å, '
                f'but ACE ends at {rcut:g} Å, so nothing is left to fit; needed: an outer cutoff below the shortest '
                'bonds (DeltaBaseline.for_elements has one), or the mode delta'
            )


def _with_cutoffs(
    bonds: Mapping[str, Mapping[str, Any]], cutoffs: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the bonds with the inner cutoff of each pair, which overrides what is given for groups of elements."""
    keys = {tuple(sorted(set(species_of(key)))): key for key in bonds if key not in GROUPS}
    merged = {key: dict(bond) for key, bond in bonds.items()}
    for pair, cutoff in cutoffs.items():
        key = keys.get(tuple(sorted(set(pair))), ''.join(dict.fromkeys(pair)))
        merged[key] = {**merged.get(key, {}), **cutoff}
    return merged

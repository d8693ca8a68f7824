"""Potentials that were fitted elsewhere: what their files say of themselves, held against what a person says.

A B-basis file has the atomic reference energies that were subtracted from its labels, and the core that the engine
uses where atoms collide. It does not say whether a baseline was subtracted before the engine saw the labels. The
files that this package writes say it in a file beside them, ``<stem>.baseline.json``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.errors import ConfigError, ImportedPotentialError
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.pace.config.short_range import zbl_cores
from aiida_pacemaker.pace.output.potentials import PotentialSummary, read_potential

#: Ending of the file beside a potential that says what belongs to it.
COMPANION = '.baseline.json'
#: Energies of isolated atoms are the same if they differ by no more, relative to their size and in eV.
_SAME = {'rel_tol': 1e-9, 'abs_tol': 1e-9}

BASELINE_NEEDED = (
    'the file does not say whether a baseline was subtracted from its labels: give the baseline if one was, or the '
    'mode `none` (`--no-baseline`) if the potential was fitted to the labels as they were'
)


@dataclass(frozen=True)
class Companion:
    """What is said beside a potential.

    :param baseline: what was subtracted from its labels.
    :param reference_energies: atomic reference energy (E0) of each element in eV.
    """

    baseline: DeltaBaseline
    reference_energies: dict[str, float]


def write_companion(
    baseline: DeltaBaseline, reference_energies: Mapping[str, float], contents: Mapping[str, bytes]
) -> bytes:
    """Return the content of the file beside a potential.

    :param baseline: what was subtracted from the labels.
    :param reference_energies: atomic reference energy (E0) of each element in eV.
    :param contents: the files that it belongs to, by their endings; it is of use for none of other content.
    """
    said = {
        'baseline': baseline.model_dump(mode='json'),
        'reference_energies': dict(sorted(reference_energies.items())),
        'sha256': {ending: hashlib.sha256(content).hexdigest() for ending, content in contents.items()},
    }
    return f'{json.dumps(said, indent=1)}\n'.encode()


def read_companion(path: Path) -> Companion | None:
    """Return what is said beside a potential, None if there is nothing.

    :param path: of the potential.
    :raises OSError: if a file cannot be read.
    :raises ImportedPotentialError: if the file is not one of this package, or belongs to another potential.
    """
    beside = path.with_name(f'{path.stem}{COMPANION}')
    if not beside.is_file():
        return None
    try:
        said = json.loads(beside.read_text(encoding='utf-8'))
        digests = {str(ending): str(digest) for ending, digest in said['sha256'].items()}
        companion = Companion(
            DeltaBaseline.from_stored(said['baseline']),
            {str(symbol): float(energy) for symbol, energy in said['reference_energies'].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exception:
        raise ImportedPotentialError(f'{beside.name} cannot be read ({exception}): delete it, or write it again') from (
            exception
        )
    for file in (path, path.with_suffix('.yace')):
        if file.suffix == '.yace' and file.suffix not in digests:
            # Converted after the files were written, from the B-basis that is checked: it has no digest to be held to.
            continue
        if file.is_file() and digests.get(file.suffix) != hashlib.sha256(file.read_bytes()).hexdigest():
            raise ImportedPotentialError(
                f'{beside.name} belongs to another content of {file.name}, which was changed or replaced since: delete '
                'it, and give baseline and reference energies'
            )
    return companion


def origin_of(
    content: bytes, reference_energies: Mapping[str, float] | None, baseline: DeltaBaseline | dict[str, Any] | None
) -> tuple[dict[str, float], DeltaBaseline]:
    """Return the reference energies and the baseline of a potential from elsewhere.

    :param content: the B-basis ``.yaml``.
    :param reference_energies: those that a person gives, eV; needed for elements of which the file says nothing.
    :param baseline: what a person says was subtracted from the labels; needed unless the file has the core of the
        engine, which the mode ``core`` is for.
    :raises ImportedPotentialError: if file and person contradict each other, or if neither says something.
    :raises PotentialFileError: if the file is no B-basis potential.
    """
    summary = read_potential(content)
    return _energies(summary, reference_energies or {}), _baseline(content, summary, baseline)


def differing_energies(summary: PotentialSummary, given: Mapping[str, float]) -> str | None:
    """Return in words how given reference energies differ from those in a file, None if they do not."""
    said = summary.reference_energy or {}
    different = [
        f'{symbol}: the file says {said[symbol]:.10g} eV and {given[symbol]:.10g} eV is given'
        for symbol in sorted(set(said) & set(given))
        if not math.isclose(said[symbol], given[symbol], **_SAME)
    ]
    return '; '.join(different) or None


def _energies(summary: PotentialSummary, given: Mapping[str, float]) -> dict[str, float]:
    strangers = sorted(set(given) - set(summary.elements))
    if strangers:
        raise ImportedPotentialError(
            f'there are reference energies for {", ".join(strangers)}, which the potential does not describe: it has '
            f'{", ".join(summary.elements)}'
        )
    different = differing_energies(summary, given)
    if different is not None:
        raise ImportedPotentialError(
            f'the reference energies are not those that the potential was fitted with ({different}): its energies are '
            'relative to those of the file. Leave them out, or take those'
        )
    energies = {**given, **(summary.reference_energy or {})}
    missing = [symbol for symbol in summary.elements if symbol not in energies]
    if missing:
        raise ImportedPotentialError(
            f'neither the file nor you say which energy of the isolated atom was subtracted for {", ".join(missing)}: '
            'give `reference_energies` in eV, 0 where total energies were fitted as they were'
        )
    return {symbol: float(energies[symbol]) for symbol in summary.elements}


def _baseline(content: bytes, summary: PotentialSummary, given: DeltaBaseline | dict[str, Any] | None) -> DeltaBaseline:
    zbl = bool(zbl_cores(content))
    own = sorted('-'.join(pair) for pair, (prefactor, _) in summary.core_repulsion.items() if prefactor)
    if given is None:
        if not zbl:
            raise ImportedPotentialError(BASELINE_NEEDED)
        return DeltaBaseline.for_elements(summary.elements, mode='core')
    try:
        baseline = parse_options(DeltaBaseline, given, '`baseline`')
    except ConfigError as exception:
        raise ImportedPotentialError(str(exception)) from exception
    if zbl and baseline.mode != 'core':
        raise ImportedPotentialError(
            f'the file has the ZBL core of the engine (`inner_cutoff_type: zbl`), which the mode `{baseline.mode}` '
            'does not say: leave `baseline` out, or give the mode `core`'
        )
    if not zbl and baseline.mode == 'core':
        raise ImportedPotentialError(
            'the mode `core` says that the engine repels atoms that collide, but the file has no ZBL core: give the '
            'mode `none` (`--no-baseline`) if nothing was subtracted from the labels'
        )
    if own and baseline.repels:
        raise ImportedPotentialError(
            f'the file has a core repulsion of its own for {", ".join(own)}, and the baseline (mode {baseline.mode}) '
            'adds ZBL: atoms that collide would repel each other twice. Give the mode `none`'
        )
    return baseline

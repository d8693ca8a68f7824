"""What an exact linear fit cannot do, or does not read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiida_pacemaker.pace.config.potential_checks import resolve
from aiida_pacemaker.pace.config.short_range import overwritten_by_auto

Problem = tuple[str, str]

#: What an exact fit reads of the section ``fit``, where it minimises the loss of Pacemaker.
LOSS_KEYS = {
    'loss.kappa',
    'loss.L2_coeffs',
    *(f'weighting.{name}' for name in ('type', 'DE', 'DF', 'DEup', 'energy')),
    # It takes all frames, so that none are drawn by it.
    'weighting.seed',
}
#: Keys of the section ``linear`` that say the same as the loss of Pacemaker.
PHYSICAL_KEYS = ('energy_ratio', 'energy_scale', 'virial_ratio')
OTHERWISE = 'set evaluator: pyace (or tensorpot) for a fit by iterations'


def not_linear(embeddings: Mapping[str, Any] | None, elements: Iterable[str]) -> dict[str, str]:
    """Return why the energy is not linear in one density, by element; without embeddings it is.

    :param embeddings: of the section ``potential``.
    :param elements: of the potential.
    """
    reasons = {element: _reason(resolve(dict(embeddings or {}), (element,))) for element in elements}
    return {element: reason for element, reason in reasons.items() if reason is not None}


def _reason(embedding: Mapping[str, Any]) -> str | None:
    """Return why an embedding is not linear, None if it is."""
    if (embedding.get('ndensity') or 1) != 1:
        return f'{embedding["ndensity"]} densities'
    parameters = embedding.get('fs_parameters') or [1.0, 1.0]
    if len(parameters) != 2 or parameters[1] != 1.0:
        return f'fs_parameters {list(parameters)}'
    return None


def check_linear(given: Mapping[str, Any], sections: Mapping[str, Any]) -> list[Problem]:
    """Return what keeps a fit from being an exact linear one.

    :param given: the configuration as plain data.
    :param sections: what it expands to.
    """
    problems: list[Problem] = []
    potential = sections['potential']
    for element, reason in not_linear(potential['embeddings'], potential['elements']).items():
        text = f'found {reason}, needed for the evaluator linear: one density of exponent 1 (fs_parameters [1, 1])'
        problems.append((f'potential.embeddings ({element})', f'{text}; {OTHERWISE}'))
    pacemaker = sections['linear']['prior'] == 'pacemaker'
    if given.get('max_epochs') is not None:
        problems.append(('max_epochs', f'an exact linear fit has no iterations; leave it out, or {OTHERWISE}'))
    allowed = LOSS_KEYS if pacemaker else set()
    for path in _leaves(given.get('fit', {})):
        if path not in allowed:
            more = '' if pacemaker else ', or set linear.prior: pacemaker for its loss' * (path in LOSS_KEYS)
            problems.append((f'fit.{path}', f'not read by the evaluator linear; leave it out{more}, or {OTHERWISE}'))
    if given.get('kappa') is not None and not pacemaker:
        text = 'a linear fit has linear.energy_ratio in its place; leave it out, or set linear.prior: pacemaker'
        problems.append(('kappa', f'{text}, or {OTHERWISE}'))
    if pacemaker:
        problems += [
            (f'linear.{key}', 'the loss of Pacemaker (linear.prior) has kappa and fit.weighting; keep one of them')
            for key in PHYSICAL_KEYS
            if given.get('linear', {}).get(key) is not None
        ]
        if sections['fit']['loss'].get('kappa') == 'auto':
            problems.append(('kappa', 'found auto, needed for the evaluator linear: a number from 0 to 1'))
    if sections['linear']['repulsion']:
        problems += [
            (
                f'potential.bonds.{key}',
                f'{", ".join(names)} would be overwritten by linear.repulsion; needed: only one, such as '
                'linear.repulsion: 0',
            )
            for key, names in overwritten_by_auto(potential).items()
        ]
    if given.get('data', {}).get('aug_factor') is not None:
        problems.append(('data.aug_factor', f'not read by the evaluator linear; leave it out, or {OTHERWISE}'))
    for key in ('display_step', 'imagetype'):
        if given.get('backend', {}).get(key) is not None:
            problems.append((f'backend.{key}', 'not read by the evaluator linear; leave it out'))
    problems += [
        (f'extra.{name}', 'the evaluator linear passes nothing on; leave it out')
        for name, keys in given.get('extra', {}).items()
        if keys and name != 'potential'
    ]
    return problems


def _leaves(mapping: Mapping[str, Any], prefix: str = '') -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'

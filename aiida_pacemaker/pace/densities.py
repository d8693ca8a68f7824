"""More densities for a potential that is linear in one, by which it changes only where a fit goes on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aiida_pacemaker.errors import ConfigError, PotentialFileError
from aiida_pacemaker.pace.output.potentials import blocks_of_pairs, read_potential, strip_fit_cycles

#: Embeddings that are linear with one density of exponent 1.
LINEAR = ('FinnisSinclair', 'FinnisSinclairShiftedScaled')
#: The embedding whose derivative is finite where a density of an exponent below 1 vanishes.
SMOOTH = 'FinnisSinclairShiftedScaled'
#: A function of one density, as the engine writes it: what is before its element and coefficient, these, what is after.
FUNCTION = re.compile(r'^(\s*- \{type: (\w+)\b.*\bc: \[)([^\],]+)(\]\}\s*)$')
_EMBEDDING = re.compile(r'^(\s+)(ndensityi|npoti|parameters):.*$')


def check_embedding(npot: str | None, parameters: Sequence[float] | None) -> tuple[str, list[float]]:
    """Return an embedding that a linear potential can be carried over to.

    :param npot: name of the function of the engine.
    :param parameters: prefactor and exponent of each density, at least two.
    :raises ConfigError: if it has one density, if the first is not linear, or if a further one would not be fitted.
    """
    if npot != SMOOTH:
        raise ConfigError(
            f'npot: found {npot}, needed: {SMOOTH}, which is smooth where a density vanishes; others are too steep '
            'there for a minimiser'
        )
    values = [float(value) for value in parameters or ()]
    if len(values) < 4 or len(values) % 2:
        raise ConfigError(
            f'fs_parameters: found {values}, needed: prefactor and exponent of each density, of two at least, such as '
            '[1, 1, 1, 0.5]'
        )
    prefactors, exponents = values[::2], values[1::2]
    if exponents[0] != 1.0:
        raise ConfigError(
            f'fs_parameters: found the exponent {exponents[0]:g} of the first density, needed: 1, for it is the linear '
            'one that the potential has'
        )
    if 0.0 in prefactors:
        raise ConfigError('fs_parameters: found a prefactor of 0, needed: another one, for the density adds nothing')
    useless = [exponent for exponent in exponents[1:] if not 0.0 < exponent < 1.0]
    if useless:
        raise ConfigError(
            f'fs_parameters: found the exponent {useless[0]:g} of a further density, needed: between 0 and 1. With 1 '
            'it is the linear one again; beyond, the energy does not change to first order where the density is '
            'zero, and a minimiser would leave it there'
        )
    return npot, values


def add_densities(content: bytes, npot: str | None, parameters: Sequence[float] | None) -> bytes:
    """Return a B-basis potential that is linear in one density with further densities, which are zero.

    The coefficients c of a function become ``[c, 0, ...]``. As the embedding of the engine vanishes with its density,
    energies and forces are the same; its derivative at zero does not vanish, so that a fit that goes on from there
    changes the new coefficients. All else stays: functions, radial functions, inner cutoffs, notes.

    :param content: the content of the ``.yaml``, as the engine writes it.
    :param npot: name of the embedding, ``FinnisSinclairShiftedScaled``.
    :param parameters: its prefactor and exponent of each density; the first exponent is 1.
    :raises ConfigError: if the embedding is none that a linear potential can be carried over to.
    :raises PotentialFileError: if the potential is not linear in one density, or not written as the engine writes it.
    """
    npot, values = check_embedding(npot, parameters)
    n_densities = len(values) // 2
    factors = {element: prefactor / values[0] for element, prefactor in _prefactors(content).items()}
    wanted: dict[str, Any] = {'ndensityi': n_densities, 'npoti': npot, 'parameters': _list(values)}
    lines = []
    for line in strip_fit_cycles(content.decode()).splitlines(keepends=True):
        bare = line.rstrip('\r\n')
        if found := _EMBEDDING.match(bare):
            lines.append(f'{found[1]}{found[2]}: {wanted[found[2]]}\n')
        elif found := FUNCTION.match(bare):
            factor = factors.get(found[2], 1.0)
            # Where nothing is scaled the digits stay as they are.
            first = found[3] if factor == 1.0 else repr(float(found[3]) * factor)
            lines.append(f'{found[1]}{", ".join([first, *["0"] * (n_densities - 1)])}{found[4]}\n')
        else:
            lines.append(line)
    result = ''.join(lines).encode()
    _check(content, result, n_densities)
    return result


def _prefactors(content: bytes) -> dict[str, float]:
    """Return the prefactor of the linear embedding of each element.

    :raises PotentialFileError: if the potential is not linear.
    """
    summary, blocks = read_potential(content), blocks_of_pairs(content)
    prefactors, reasons = {}, []
    for element, count in sorted(summary.n_densities.items()):
        said = blocks[element, element].get('parameters')
        try:
            parameters = [float(value) for value in said or ()]
        except (TypeError, ValueError):
            parameters = []
        if count != 1:
            reasons.append(f'{element} has {count} densities')
        elif len(parameters) != 2 or parameters[1] != 1.0 or summary.embeddings[element] not in LINEAR:
            reasons.append(f'{element} has the embedding {summary.embeddings[element]} with the parameters {said}')
        else:
            prefactors[element] = parameters[0]
    if reasons:
        raise PotentialFileError(
            f'it is not linear in one density ({"; ".join(reasons)}); needed: one density of exponent 1 for each '
            'element (parameters [1, 1]), as of an exact linear fit'
        )
    return prefactors


def _check(before: bytes, after: bytes, n_densities: int) -> None:
    """Look whether all functions have been rewritten.

    :raises PotentialFileError: if not.
    """
    old, new = read_potential(before), read_potential(after)
    added = (n_densities - 1) * old.n_functions
    densities = set(new.n_densities.values())
    if densities != {n_densities} or new.n_parameters != old.n_parameters + added:
        raise PotentialFileError(
            'its functions are not written as the engine writes them, one a line: read it with '
            'pyace.BBasisConfiguration and save it'
        )


def _list(values: Sequence[float]) -> str:
    return f'[{", ".join(f"{value:.17g}" for value in values)}]'

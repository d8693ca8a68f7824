"""The penalties on the coefficients with which a fit begins, beside the errors that it is to make smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida_pacemaker.pace.output.potentials import read_coefficients


def penalty_of(content: bytes, loss: Mapping[str, Any]) -> float:
    """Return the penalty of a potential by its coefficients c, ``L1 sum |c| + L2 sum c^2``.

    :param content: the B-basis ``.yaml``.
    :param loss: section ``fit.loss`` of the engine's input.
    """
    coefficients = read_coefficients(content)
    first, second = (float(loss.get(name) or 0.0) for name in ('L1_coeffs', 'L2_coeffs'))
    return first * sum(map(abs, coefficients)) + second * sum(value**2 for value in coefficients)


def warning_about_penalty(content: bytes, loss: Mapping[str, Any], start: float) -> str | None:
    """Return what there is to say of a fit that begins with a penalty which is larger than its errors.

    :param content: the potential that the fit continues from.
    :param loss: section ``fit.loss`` of the engine's input.
    :param start: its loss before the first iteration, the penalty included.
    """
    penalty = penalty_of(content, loss)
    if not 0.0 < start - penalty < penalty:
        return None
    return (
        f'The penalty on the coefficients of the potential that the fit has continued from is {penalty:.4g} '
        f'(fit.loss.L1_coeffs {loss.get("L1_coeffs") or 0:g}, L2_coeffs {loss.get("L2_coeffs") or 0:g}), '
        f'{penalty / (start - penalty):.1f} times the loss by its errors, {start - penalty:.4g}: most of what is '
        'minimised is the size of the coefficients. Continue from an exact linear fit with penalties of 0.'
    )

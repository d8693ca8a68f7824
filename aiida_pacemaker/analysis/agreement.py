"""Whether two evaluators agree: what a fit says of its own errors, and what an evaluation of its potential finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The errors that both have: name, the least difference that counts, its unit and the factor to it. Below, differences
#: are those of rounding and of single precision.
COMPARED = (('rmse_energy', 1e-4, 'meV/atom', 1e3), ('rmse_forces', 1e-3, 'meV/angstrom', 1e3))
#: Relative difference from which two errors are not the same.
RELATIVE = 0.01


def disagreement(metrics: Mapping[str, Any], errors: Mapping[str, Any]) -> str | None:
    """Return in words how the errors of a fit differ from those of an evaluation of its potential on the same frames.

    The evaluators `tensorpot`, by which potentials are fitted, and `pyace`, by which they are evaluated, are known to
    differ for some potentials. Two errors differ if they do so by more than 1 %, and by more than 0.1 meV/atom or
    1 meV/angstrom.

    :param metrics: the output of the training job: `rmse_energy` in eV/atom, `rmse_forces` in eV/angstrom (per
        component), `evaluator`, and `n_fitted`, the number of frames.
    :param errors: those of the evaluation on the training set, by the same names, and `n_frames`.
    :returns: None if they agree, or if they are of different frames, as where a weighting policy has left some out.
    """
    if metrics.get('n_fitted') != errors.get('n_frames'):
        return None
    different = []
    for name, least, unit, factor in COMPARED:
        by_fit, by_evaluation = metrics.get(name), errors.get(name)
        if by_fit is None or by_evaluation is None:
            continue
        if abs(by_fit - by_evaluation) > max(least, RELATIVE * max(by_fit, by_evaluation)):
            what = 'energies' if name == 'rmse_energy' else 'forces'
            different.append(f'RMSE of {what} {by_fit * factor:.4g} and {by_evaluation * factor:.4g} {unit}')
    if not different:
        return None
    return (
        f'The evaluators differ: by the fit itself ({metrics.get("evaluator")}) and by an evaluation of its potential '
        f'(pyace), on the same frames, the errors are: {"; ".join(different)}. What LAMMPS and ASE use is the latter. '
        'Fit with `backend: {evaluator: pyace}`, or with another radial basis or embedding, and compare.'
    )

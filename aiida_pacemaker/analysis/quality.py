"""How good a potential is, in words: its errors against the spread of the labels that it was to describe.

An error says nothing by itself: 100 meV/angstrom is little in a melt and all there is in a crystal near its minimum.
What a fit has learned is the share of the spread that is not left over. With r = error / spread, r squared is the share
of the variance that the potential does not describe (1 - R squared of a regression). The spread is that about the best
that can be said without a potential: forces of zero, and a sum of one energy for each element.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_pacemaker.baseline.reference_energies import element_counts
from aiida_pacemaker.frames.table import Frames

#: Errors relative to the spread up to which a potential is called so, and beyond all of them useless.
GRADES = ((0.05, 'very good'), (0.1, 'good'), (0.2, 'fair'), (0.5, 'poor'), (1.0, 'bad'))
USELESS = 'useless'
#: From here on a user is warned: a quarter of the variance is not described.
POOR = 0.5
#: Energies whose relative error is this many times that of the forces, and no longer fair, drown in the forces.
DROWNED, FAIR = 3.0, 0.2
#: Errors on a test set that are this many times those on the training set are those of a fit that has learned by heart.
OVERFITTED, GOOD = 2.0, 0.1
#: Spreads below these are those of the noise of labels: 1 meV/atom and 10 meV/angstrom are what common settings of DFT
#: converge to, so that an error of the same size says nothing of the potential.
NOISE_ENERGY, NOISE_FORCES = 1e-3, 1e-2
#: Fewer degrees of freedom do not give a spread.
MIN_FREEDOM = 2

GAMMA_IS_NO_ERROR = 'Gamma says how far structures are from the data, not how large the errors are.'


def spreads(frames: Frames) -> dict[str, float | None]:
    """Return how far labels spread, which is what a potential is there to describe.

    :param frames: labelled frames.
    :returns: `spread_energy`, the standard deviation of the energies in eV/atom about the best sum of one energy for
        each element (least squares), None of too few frames; and `spread_forces`, the root mean square of the forces in
        eV/angstrom per component.
    :raises ValueError: if the frames are not labelled.
    """
    if frames.energy is None or frames.forces is None:
        raise ValueError('the spread of labels needs labelled frames')
    _, counts = element_counts(frames)
    shares, energies = counts / frames.n_atoms[:, None], frames.energy / frames.n_atoms
    solution, _, rank, _ = np.linalg.lstsq(shares, energies, rcond=None)
    freedom = len(frames) - int(rank)
    left = energies - shares @ solution
    return {
        'spread_energy': float(np.sqrt(left @ left / freedom)) if freedom >= MIN_FREEDOM else None,
        'spread_forces': float(np.sqrt(np.mean(frames.forces**2))),
    }


def judge(train: Mapping[str, Any], test: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return how good a potential is, of plain types.

    :param train: errors and spreads of the training set: `rmse_energy` and `spread_energy` in eV/atom, `rmse_forces`
        and `spread_forces` in eV/angstrom.
    :param test: the same of a test set, if there is one.
    :returns: `on` (`test` or `train`), `energy` and `forces` (error over spread, None where it cannot be said),
        `verdict` (that of the worse of the two), `text` (sentences) and `warnings` (what to change, if anything).
    """
    on, of = ('train', train) if test is None else ('test', test)
    name = 'training' if on == 'train' else 'test'
    text: list[str] = []
    ratios: dict[str, float | None] = {'energy': None, 'forces': None}
    for kind, said, unit, noise, against in (
        ('forces', 'Forces', 'meV/Å', NOISE_FORCES, 'of the rms force'),
        ('energy', 'Energies', 'meV/atom', NOISE_ENERGY, 'of the spread that composition does not explain'),
    ):
        error, spread = of[f'rmse_{kind}'], of.get(f'spread_{kind}')
        if spread is None:
            # Too few frames to say how far they spread: those of the training tell more of them.
            spread = train.get(f'spread_{kind}')
        shown = f'{said}: {name} error {_digits(1e3 * error)} {unit}'
        if spread is None:
            text.append(f'{shown}; there are too few labels to say how much that is.')
        elif spread < noise:
            text.append(
                f'{shown}; labels that spread by {_digits(1e3 * spread)} {unit} only cannot tell how good that is.'
            )
        else:
            ratio = ratios[kind] = error / spread
            text.append(f'{shown}, {_percent(ratio)} {against} ({_digits(1e3 * spread)}): {grade(ratio)}.')
    if on == 'train':
        text.append('There is no test set: errors on what was fitted are smaller than those on anything else.')
    text.append(GAMMA_IS_NO_ERROR)
    known_ratios = [ratio for ratio in ratios.values() if ratio is not None]
    return {
        'on': on,
        **ratios,
        'verdict': grade(max(known_ratios)) if known_ratios else None,
        'text': text,
        'warnings': _warnings(ratios['energy'], ratios['forces'], train, test),
    }


def grade(ratio: float) -> str:
    """Return in words how good an error is that is some part of the spread."""
    return next((word for limit, word in GRADES if ratio <= limit), USELESS)


def _warnings(
    energy: float | None, forces: float | None, train: Mapping[str, Any], test: Mapping[str, Any] | None
) -> list[str]:
    warnings = []
    if forces is not None and forces >= POOR:
        warnings.append(
            f'The errors of the forces are {_percent(forces)} of the forces themselves'
            f'{": forces of zero would be as good" if forces >= 1 else ""}. Fit with more data, more functions '
            '(`max_deg`, `max_order`), by iterations longer (`first_iterations`, `later_iterations`), and look whether '
            'all labels are of one level of theory.'
        )
    drowned = energy is not None and forces is not None and energy > FAIR and energy >= DROWNED * forces
    if energy is not None and (energy >= POOR or drowned):
        as_good = ': one energy for each element would be as good' if energy >= 1 else ''
        advice = (
            'They are described far worse than the forces, which have nearly all of the loss: lower `kappa`, say to a '
            'tenth or a hundredth of what it is; of a linear fit, raise `linear.energy_ratio`.'
            if drowned
            else 'Fit with more data or functions, by iterations longer, and look whether all labels are of one level '
            'of theory and the reference energies those of the same.'
        )
        warnings.append(f'The errors of the energies are {_percent(energy)} of their spread{as_good}. {advice}')
    if test is not None and forces is not None and forces > GOOD:
        times = test['rmse_forces'] / max(train['rmse_forces'], 1e-12)
        if times >= OVERFITTED:
            warnings.append(
                f'The errors of the forces on the test set are {times:.1f} times those on the training set: it is of '
                'another kind, or the fit has learned its data by heart. Add data like the test set, take fewer '
                'functions, or, of a fit by iterations, raise `fit.loss.L2_coeffs`.'
            )
    return warnings


def _percent(ratio: float) -> str:
    return f'{_digits(100 * ratio)} %'


def _digits(value: float) -> str:
    """Return a number in two digits where it is small, and in no powers of ten where it is large."""
    return f'{value:.0f}' if value >= 10 else f'{value:.2g}'

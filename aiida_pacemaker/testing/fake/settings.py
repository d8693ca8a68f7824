"""What the fake engine reads in its input: as the real one, it ignores what it does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiida_pacemaker.testing.fake.basis import Potential

_SEED = 42
_KAPPA = 0.3


@dataclass(frozen=True)
class FitSettings:
    """How to fit.

    :param maxiter: iterations of each fit cycle.
    :param cycles: fit cycles.
    :param noise: relative width of the noise between fit cycles.
    :param ladder: sizes of a ladder step, in functions of each block or as a fraction; empty for a single shot.
    :param kappa: share of the forces in the loss.
    :param l1: weight of the sizes of the coefficients in the loss.
    :param l2: weight of their squares.
    :param slowest_change: relative change of the loss per iteration below which the fit stops early.
    :param patience: for so many iterations.
    :param trains_all: whether radial functions count as trainable.
    :param tensorpot: whether this is the evaluator: unlike `pyace`, it follows the test set, and drops frames in which
        no atom has a neighbour.
    :param display_step: iterations between tests.
    :param seed: for the noise.
    """

    maxiter: int
    cycles: int
    noise: float
    ladder: Sequence[float]
    kappa: float
    l1: float
    l2: float
    slowest_change: float | None
    patience: int
    trains_all: bool
    tensorpot: bool
    display_step: int
    seed: int

    @classmethod
    def from_input(cls, fit: Mapping[str, Any], backend: Mapping[str, Any], seed: int) -> FitSettings:
        """Take what is there of the sections ``fit`` and ``backend``."""
        loss = fit.get('loss', {})
        ladder = fit.get('ladder_step', [])
        kappa = loss.get('kappa', _KAPPA)
        return cls(
            maxiter=int(fit.get('maxiter', 100)),
            cycles=int(fit.get('fit_cycles', 1)),
            noise=float(fit.get('noise_relative_sigma', 0.0)),
            ladder=ladder if isinstance(ladder, list) else [ladder],
            # What `auto` stands for depends on the variances of the labels.
            kappa=_KAPPA if kappa == 'auto' else float(kappa),
            l1=float(loss.get('L1_coeffs', 0.0)),
            l2=float(loss.get('L2_coeffs', 0.0)),
            slowest_change=fit.get('min_relative_train_loss_per_iter'),
            patience=int(fit.get('early_stopping_patience', 150)),
            trains_all=fit.get('trainable_parameters', 'ALL') == 'ALL',
            tensorpot=backend.get('evaluator') == 'tensorpot',
            display_step=int(backend.get('display_step', 20)),
            seed=seed,
        )

    def n_trainable(self, potential: Potential) -> int:
        """Return how many parameters of a potential count as trainable."""
        if self.trains_all:
            return potential.n_parameters
        return sum(len(function['c']) for function in potential.functions())


def seed_of(document: Mapping[str, Any]) -> int:
    """Return the seed of an input."""
    return int(document.get('seed', _SEED))

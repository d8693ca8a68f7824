"""An exact linear fit, judged by a minimiser of the same loss that continues from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Losses of the same coefficients by two programs that differ by less, relative to their size, are the same.
SAME_LOSS = 1e-9


@dataclass(frozen=True)
class Judgement:
    """The loss of an exact fit, and what a minimiser says that continues from it.

    :param exact: loss of the exact fit by its own equations, the penalty included.
    :param reported: loss of the same potential by the minimiser, before its first iteration.
    :param lowest: lowest loss that the minimiser has found.
    :param iterations: number of its iterations.
    """

    exact: float
    reported: float
    lowest: float
    iterations: int

    @property
    def difference(self) -> float:
        """By how much the two losses of the same potential differ, relative to that of the exact fit."""
        return self.reported / self.exact - 1

    @property
    def gain(self) -> float:
        """By how much the minimiser has lowered the loss, relative to where it began."""
        return 1 - self.lowest / self.reported

    @property
    def same_loss(self) -> bool:
        """Whether both programs give the same loss for the same potential."""
        return abs(self.difference) < SAME_LOSS

    @property
    def confirmed(self) -> bool:
        """Whether the loss is the same and the minimiser has found nothing better."""
        return self.same_loss and self.gain < SAME_LOSS


def judge(exact: float, losses: Sequence[float], iterations: Sequence[int]) -> Judgement:
    """Return how the losses of a minimiser compare with that of the exact fit that it has continued from.

    :param exact: loss of the exact fit, as its `metrics` have it.
    :param losses: those of the minimiser, row by row (`train_loss` of its `learning_curves`).
    :param iterations: the iteration of each row (`train_iter_num`), from 0 on, which is before the first one.
    :raises ValueError: if there is no row of iteration 0, or if the loss of the exact fit is not positive.
    """
    if not exact > 0:
        raise ValueError(f'the loss of the exact fit is {exact}; needed: a positive number')
    if not len(losses) or iterations[0] != 0:
        raise ValueError(
            'the learning curves do not begin with iteration 0, the loss of the potential that the fit continues from'
        )
    return Judgement(float(exact), float(losses[0]), float(min(losses)), int(iterations[-1]))

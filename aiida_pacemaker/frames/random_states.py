"""The random numbers of structures that are perturbed and of runs that begin from them.

It needs nothing but NumPy: this file is also put beside the drivers, which run where this package is not installed.
"""

from __future__ import annotations

import numpy as np

#: What the random numbers of one copy of a frame are for: each purpose has a stream of its own.
FOR_PERTURBATION, FOR_DYNAMICS = 0, 1


def random_state(seed: int, frame: int, copy: int, purpose: int) -> np.random.RandomState:
    """Return the random numbers of one copy of one frame: the same with every version of NumPy.

    :param seed: not negative.
    :param frame: position of the frame among those that are perturbed or explored from.
    :param copy: which of its copies it is.
    :param purpose: `FOR_PERTURBATION` or `FOR_DYNAMICS`.
    """
    sequence = np.random.SeedSequence([seed, frame, copy, purpose])
    return np.random.RandomState(np.random.MT19937(sequence))

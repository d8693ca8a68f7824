"""Groups of basis functions that share a prior variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Prior = Literal['order_degree', 'order']


def groups_of(radial: Sequence[Sequence[int]], angular: Sequence[Sequence[int]], prior: Prior) -> npt.NDArray[np.intp]:
    """Return the group of each function, counted from 0.

    :param radial: indices n of the factors of each function, each at least 1.
    :param angular: indices l of the factors of each function.
    :param prior: `order`: one group for each correlation order; `order_degree`: also one for each two degrees, where
        the degree is the sum of all ``n - 1`` and all ``l``.
    """
    names = []
    for ns, ls in zip(radial, angular):
        degree = sum(n - 1 for n in ns) + sum(ls)
        names.append((len(ns), degree // 2 if prior == 'order_degree' else 0))
    number = {name: index for index, name in enumerate(sorted(set(names)))}
    return np.array([number[name] for name in names], dtype=np.intp)

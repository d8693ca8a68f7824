"""The convex hull of energies over compositions, which Pacemaker measures energies from in its energy-based weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.formula import Formula
from scipy.spatial import ConvexHull

#: Smallest component of a normal along the energy for which a facet of the hull is not vertical.
VERTICAL = 1e-12


def hull_energies(lowest: Mapping[str, float]) -> dict[str, float]:
    """Return the energy of the convex hull at each composition: what a mixture of the best phases has.

    :param lowest: for each reduced formula the lowest energy in eV/atom.
    :returns: for each of them the energy of the hull in eV/atom, at most that.
    """
    formulas = list(lowest)
    energies = np.array([lowest[formula] for formula in formulas])
    counts = [Formula(formula).count() for formula in formulas]
    elements = sorted({element for count in counts for element in count})
    parts = np.array([[count.get(element, 0) / sum(count.values()) for element in elements] for count in counts])
    # Along the directions in which compositions differ; Qhull takes no others.
    _, values, directions = np.linalg.svd(parts - parts.mean(axis=0), full_matrices=False)
    places = (parts - parts.mean(axis=0)) @ directions[values > 1e-9].T
    if not places.shape[1]:
        return dict(lowest)
    # The points above close the hull where there are few; they are on no facet that faces down, but for vertical ones.
    above = np.full(len(energies), energies.max() + 1.0)
    points = np.column_stack([np.vstack([places, places]), np.concatenate([energies, above])])
    equations = ConvexHull(points).equations
    below = equations[equations[:, -2] < -VERTICAL]
    planes = -(places @ below[:, :-2].T + below[:, -1]) / below[:, -2]
    return dict(zip(formulas, np.minimum(planes.max(axis=1), energies).tolist()))

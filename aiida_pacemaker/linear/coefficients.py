"""The coefficients of a linear fit, and how uncertain they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .equations import FloatArray


@dataclass(frozen=True)
class Coefficients:
    """Coefficients with their covariance.

    Those of the columns that are in `used` are ``scale * x``; the covariance of ``x`` is ``root root^T``. All others
    are zero: the data do not determine them.

    :param coefficients: shape (K,).
    :param used: positions of the columns that are not zero, shape (U,).
    :param scale: of each of these, shape (U,).
    :param root: a root of the covariance, shape (U, R).
    """

    coefficients: FloatArray
    used: npt.NDArray[np.intp]
    scale: FloatArray
    root: FloatArray

    def project(self, rows: FloatArray) -> FloatArray:
        """Return rows in the directions of the root, shape (M, R): products of these are covariances of predictions.

        :param rows: of any weights, shape (M, at least K).
        """
        result: FloatArray = (rows[:, self.used] * self.scale) @ self.root
        return result

    def spread(self, rows: FloatArray) -> FloatArray:
        """Return the standard deviation of the prediction of each row by the posterior, not calibrated, shape (M,).

        :param rows: of any weights, shape (M, at least K).
        """
        projected = self.project(rows)
        result: FloatArray = np.sqrt(np.einsum('ij,ij->i', projected, projected))
        return result

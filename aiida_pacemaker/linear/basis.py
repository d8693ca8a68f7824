"""The functions of a linear fit, as the engine makes them, cut by total degree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyace

from .groups import Prior, groups_of


def in_degree(ns: list[int], ls: list[int], degree: int, first: int) -> bool:
    """Return whether a function is one of a total-degree basis.

    The total degree of a product of factors is the sum of all n >= 1 and all l >= 0 (Dusson et al., J. Comput. Phys.
    454 (2022) 110946). Functions of order 1, which are pair interactions, may have a higher one.

    :param degree: largest total degree.
    :param first: largest n of functions of order 1.
    """
    return ns[0] <= first if len(ns) == 1 else sum(ns) + sum(ls) <= degree


def configuration_of(section: Mapping[str, Any], degree: int | None, first: int | None) -> Any:
    """Return a `BBasisConfiguration` with all coefficients at zero.

    :param section: the section `potential` of the engine's input.
    :param degree: largest total degree of the functions of order 2 and more; None to keep all of the section.
    :param first: largest n of the functions of order 1.
    """
    configuration = pyace.create_multispecies_basis_config(dict(section))
    if degree is not None:
        for block in configuration.funcspecs_blocks:
            block.funcspecs = [
                one for one in block.funcspecs if in_degree(list(one.ns), list(one.ls), degree, first or degree)
            ]
    return configuration


@dataclass(frozen=True)
class Basis:
    """Basis functions of all elements in one order of columns: that of the coefficients of the engine.

    :param functions: an `ACEBBasisSet`.
    :param radial: indices n of the factors of each function.
    :param angular: indices l.
    :param centres: chemical symbol of the central atom of each function.
    :param starts: first column of each element, in the order of `elements`, and the number of all columns.
    """

    functions: Any
    radial: tuple[tuple[int, ...], ...]
    angular: tuple[tuple[int, ...], ...]
    centres: tuple[str, ...]
    starts: tuple[int, ...]

    @classmethod
    def of_configuration(cls, configuration: Any) -> Basis:
        """Return the basis of a `BBasisConfiguration`.

        :raises ValueError: if the energy is not linear in the coefficients.
        """
        functions = pyace.ACEBBasisSet(configuration)
        embeddings = functions.map_embedding_specifications
        for index, name in enumerate(functions.elements_name):
            one = embeddings[index]
            exponents = [float(value) for value in one.FS_parameters]
            if one.ndensity != 1 or exponents[1] != 1.0:
                raise ValueError(
                    f'the embedding of {name} is not linear: it has {one.ndensity} densities and fs_parameters '
                    f'{exponents}; a linear fit needs one density of exponent 1 (fs_parameters [1, 1])'
                )
        radial: list[tuple[int, ...]] = []
        angular: list[tuple[int, ...]] = []
        centres: list[str] = []
        starts = [0]
        for name, rank1, higher in zip(functions.elements_name, functions.basis_rank1, functions.basis):
            for one in [*rank1, *higher]:
                radial.append(tuple(map(int, one.ns)))
                angular.append(tuple(map(int, one.ls)))
                centres.append(str(name))
            starts.append(len(centres))
        return cls(functions, tuple(radial), tuple(angular), tuple(centres), tuple(starts))

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols, in the order of the engine."""
        return tuple(map(str, self.functions.elements_name))

    @property
    def prefactors(self) -> npt.NDArray[np.float64]:
        """What the density of each element is multiplied with, shape (elements,)."""
        embeddings = self.functions.map_embedding_specifications
        return np.array([float(embeddings[index].FS_parameters[0]) for index in range(len(self.elements))])

    @property
    def n_functions(self) -> int:
        """Number of functions of all elements, K."""
        return len(self.centres)

    def groups(self, prior: Prior) -> npt.NDArray[np.intp]:
        """Return the group of the prior of each function, shape (K,)."""
        return groups_of(self.radial, self.angular, prior)

    def set_coefficients(self, coefficients: npt.NDArray[np.float64]) -> None:
        """Set the coefficients of all functions."""
        self.functions.basis_coeffs = [float(one) for one in coefficients]

"""The least-squares problem that the fake engine solves."""

from __future__ import annotations

import numpy as np

from aiida_pacemaker.frames.table import FloatArray
from aiida_pacemaker.testing.fake.basis import Potential
from aiida_pacemaker.testing.fake.physics import describe
from aiida_pacemaker.testing.fake.reporting import Metrics
from aiida_pacemaker.testing.fake.settings import FitSettings
from aiida_pacemaker.testing.fake.tables import Labelled

#: Least weight of the squares of the coefficients, so that the best ones are unique.
_RIDGE = 1e-10


class Problem:
    """How well coefficients describe the labels of one set of frames."""

    def __init__(self, data: Labelled, potential: Potential, settings: FitSettings) -> None:
        self.data = data
        self.settings = settings
        self.description = describe(potential, data.frames)
        starts = data.frames.offsets[:-1]
        self._energies: FloatArray = np.add.reduceat(self.description.values, starts)
        self._weights = 1 / data.frames.n_atoms

    def predict(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return energies in eV, shape (F,), and forces in eV/angstrom, shape (A, 3)."""
        return self._energies @ values, self.description.forces @ values

    def metrics(self, values: FloatArray, n_functions: int, n_trainable: int) -> Metrics:
        """Return how well coefficients do: the loss is that of the engine with uniform weights."""
        energy, forces = self.predict(values)
        energy_error = (energy - self.data.energy) * self._weights
        force_error = forces - self.data.forces
        rmse_energy, rmse_forces = _rms(energy_error), _rms(force_error)
        mae_forces = float(np.abs(force_error).mean())
        energy_loss = (1 - self.settings.kappa) * rmse_energy**2
        force_loss = self.settings.kappa * 3 * rmse_forces**2
        l1 = self.settings.l1 * float(np.abs(values).sum())
        l2 = self.settings.l2 * float((values**2).sum())
        return Metrics(
            loss=energy_loss + force_loss + l1 + l2,
            e_loss_contrib=energy_loss,
            f_loss_contrib=force_loss,
            reg_loss=l1 + l2,
            rmse_epa=rmse_energy,
            rmse_f_comp=rmse_forces,
            low_rmse_epa=rmse_energy,
            low_rmse_f_comp=rmse_forces,
            mae_f_comp=mae_forces,
            low_mae_f_comp=mae_forces,
            nfuncs=n_functions,
            ncoefs=n_trainable,
            l1_reg_contrib=l1,
            l2_reg_contrib=l2,
        )

    def best(self) -> FloatArray:
        """Return the coefficients with the smallest loss."""
        settings = self.settings
        energy_weights = np.sqrt((1 - settings.kappa) / len(self.data)) * self._weights
        force_weight = np.sqrt(settings.kappa / len(self.data.forces))
        n_functions = self._energies.shape[1]
        rows = [
            self._energies * energy_weights[:, None],
            self.description.forces.reshape(-1, n_functions) * force_weight,
            np.eye(n_functions) * np.sqrt(max(settings.l2, _RIDGE)),
        ]
        targets = [self.data.energy * energy_weights, self.data.forces.reshape(-1) * force_weight]
        solution = np.linalg.lstsq(np.concatenate(rows), np.concatenate([*targets, np.zeros(n_functions)]), rcond=None)
        return np.asarray(solution[0], dtype=np.float64)


def _rms(errors: FloatArray) -> float:
    return float(np.sqrt(np.mean(errors**2)))

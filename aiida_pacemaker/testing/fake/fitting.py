"""The fit of the fake engine: the best coefficients are approached in steps that shrink geometrically."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aiida_pacemaker.testing.fake.basis import Potential, grown, key_of, transfer
from aiida_pacemaker.testing.fake.physics import SMALL_DISTANCE, coefficients, set_coefficients
from aiida_pacemaker.testing.fake.problem import Problem
from aiida_pacemaker.testing.fake.reporting import Metrics, Tables, log, now
from aiida_pacemaker.testing.fake.settings import FitSettings
from aiida_pacemaker.testing.fake.tables import Labelled
from aiida_pacemaker.testing.faults import Fault

#: What is left of the distance to the best coefficients after each iteration.
_SHRINKAGE = 0.8
#: Relative change of the loss at which the fit counts as converged.
_CONVERGED = 1e-12


class _End(NamedTuple):
    """How an optimisation ended, as `scipy.optimize.minimize` would say it."""

    success: bool
    status: int
    message: str


_MAXIMUM = _End(False, 1, 'Maximum number of iterations has been exceeded.')
_NAN = _End(False, 3, 'NaN result encountered.')
_CALLBACK = _End(False, 99, '`callback` raised `StopIteration`.')
_SUCCESS = _End(True, 0, 'Optimization terminated successfully.')


@dataclass
class Fit:
    """One run of the fit.

    :param target: the potential of the full size.
    :param initial: where to begin; None for coefficients of zero.
    :param train: what to fit.
    :param test: what to test on.
    :param settings: how to fit.
    :param tables: where the metrics go.
    :param fault: what is to go wrong.
    :param callbacks: what is called after each iteration.
    """

    target: Potential
    initial: Potential | None
    train: Labelled
    test: Labelled | None
    settings: FitSettings
    tables: Tables
    fault: Fault
    callbacks: Sequence[Callable[..., None]] = ()

    def run(self) -> Potential:
        """Fit, and return the potential, whose metadata say how good it is."""
        if self.settings.ladder:
            log.info("'Ladder-scheme' fitting")
            potential = self._ladder()
        else:
            log.info("'Single-shot' fitting")
            potential = self.target.copy()
            if self.initial is not None:
                transfer(self.initial, potential)
            potential = self._cycles(potential, 0)
        log.info('Fitting done')
        return potential

    def _ladder(self) -> Potential:
        """Let the basis grow step by step."""
        current = grown(self.target, set(), 0) if self.initial is None else self.initial
        step = 0
        while True:
            log.info('Current basis set size: %d B-functions', current.count())
            size = int(max(value if value >= 1 else value * current.count() for value in self.settings.ladder))
            log.info('Ladder step size: %d', size)
            extended = grown(self.target, {key_of(function) for function in current.functions()}, size)
            extended.metadata |= current.metadata
            transfer(current, extended)
            log.info('Extended basis set size: %d B-functions', extended.count())
            Path('current_extended_potential.yaml').write_text(extended.dump())
            if extended.count() == current.count():
                log.info('No new function added after basis extension. Stopping')
                return current
            current = self._cycles(extended, step)
            name = f'interim_potential_ladder_step_{step}.yaml'
            log.info('Save current ladder step potential to %s', name)
            Path(name).write_text(current.dump())
            step += 1

    def _cycles(self, potential: Potential, ladder_step: int) -> Potential:
        """Fit as often as there are fit cycles, with noise from the second one on, and return the best result."""
        log.info('Cycle fitting loop')
        cycles, done = self.settings.cycles, int(potential.metadata.pop('_fit_cycles', 0))
        if done >= cycles:
            log.warning(
                'Number of finished fit cycles (%d) >= number of expected fit cycles (%d). Use another potential or '
                'remove `_fit_cycles` from potential metadata',
                *(done, cycles),
            )
            return potential
        results: list[tuple[Potential, Metrics]] = []
        for cycle in range(done, cycles):
            log.info('Number of fit attempts: %d/%d', cycle, cycles)
            candidate = potential.copy()
            if results:
                log.info('Applying Gaussian noise with relative sigma/mean = %.4e', self.settings.noise)
                candidate = results[_best(results)][0].copy()
                values = coefficients(candidate)
                noise = np.random.default_rng([self.settings.seed, cycle]).normal(size=len(values))
                set_coefficients(candidate, values * (1 + self.settings.noise * noise))
            counts = {'ladder_step': ladder_step, 'cycle_step': cycle}
            metrics = self._optimize(candidate, counts)
            self.tables.append('cycle_metrics.txt', counts, metrics)
            candidate.metadata['_loss'] = repr(metrics.loss)
            results.append((candidate, metrics))
        number = _best(results)
        log.info('Best fitting attempt is #%d', number + 1)
        best, metrics = results[number]
        best.metadata['intermediate_time'] = now()
        marked = best.copy()
        marked.metadata['_fit_cycles'] = str(cycles)
        Path('interim_potential_best_cycle.yaml').write_text(marked.dump())
        log.info('Intermediate potential saved in interim_potential_best_cycle.yaml')
        if self.settings.ladder:
            self.tables.append('ladder_metrics.txt', {'ladder_step': ladder_step}, metrics)
        return best

    def _optimize(self, potential: Potential, counts: dict[str, int]) -> Metrics:
        """Change the coefficients of a potential until there is a reason to stop."""
        sizes = (potential.count(), self.settings.n_trainable(potential))
        log.info('Total number of functions: %d / number of parameters: %d', sizes[0], potential.n_parameters)
        log.info('Running fit backend')
        log.info('Number of trainable parameters: %d', sizes[1])
        if self.fault.name == 'small_distance':
            raise ValueError(SMALL_DISTANCE)
        train = Problem(self.train, potential, self.settings)
        followed = self.test if self.settings.tensorpot else None
        test = None if followed is None else Problem(followed, potential, self.settings)
        start, best = coefficients(potential), train.best()
        losses: list[float] = []
        while True:
            iteration = len(losses)
            values = best + _SHRINKAGE**iteration * (start - best)
            metrics = train.metrics(values, *sizes)
            diverged = self.fault.reached('nan_loss', iteration)
            if diverged:
                metrics = replace(metrics, loss=np.nan, e_loss_contrib=np.nan, rmse_epa=np.nan, low_rmse_epa=np.nan)
            losses.append(metrics.loss)
            log.info('%-16s (%d evals): %s', f'Iteration #{iteration}', iteration + 1, metrics.summary())
            self.tables.append('metrics.txt', counts | {'iter_num': iteration}, metrics)
            if iteration:
                set_coefficients(potential, values)
                self._save_interim(potential, counts['cycle_step'])
            self.fault.iterate(iteration, counts['cycle_step'])
            end = self._end(losses)
            if diverged and self.fault.options['seconds'] and iteration < self.settings.maxiter:
                end = None
            if iteration and self._told_to_stop(potential, counts, iteration):
                end = _CALLBACK
            if test is not None and (end is not None or iteration % self.settings.display_step == 0):
                tested = test.metrics(values, *sizes)
                self.tables.append('test_metrics.txt', counts | {'iter_num': iteration}, tested)
            if end is not None:
                break
        log.info(
            'Optimization result(success=%s, status=%d, message=%s, nfev=%d, njev=%d)',
            *(*end, len(losses), len(losses)),
        )
        log.info('Fitting cycle finished, final statistic: %s', metrics.summary())
        return metrics

    def _told_to_stop(self, potential: Potential, counts: Mapping[str, int], iteration: int) -> bool:
        """Call the functions that the input names, which may raise `StopIteration`."""
        try:
            for callback in self.callbacks:
                callback(
                    basis_config=potential,
                    current_fit_iteration=iteration - 1,
                    current_fit_cycle=counts['cycle_step'],
                    current_ladder_step=counts['ladder_step'],
                )
        except StopIteration:
            return True
        return False

    def _save_interim(self, potential: Potential, cycle: int) -> None:
        interim = potential.copy()
        interim.metadata.pop('_loss', None)
        interim.metadata['intermediate_time'] = now()
        Path(f'interim_potential_{cycle}.yaml').write_text(interim.dump())

    def _end(self, losses: Sequence[float]) -> _End | None:
        """Return why the optimisation ends after these losses, None if it goes on."""
        iteration = len(losses) - 1
        if not np.isfinite(losses[-1]):
            return _NAN
        changes = [(after - before) / before for before, after in pairwise(losses) if before > 0]
        threshold, patience = self.settings.slowest_change, self.settings.patience
        slow = threshold is not None and len(changes) >= patience and min(changes[-patience:]) > -threshold
        if slow or self.fault.reached('early_stopping', iteration):
            last = changes[-1] if changes else 0.0
            log.info(
                'EARLY STOPPING: Too small or even positive TRAIN loss change (best=%.2e  / iter, last=%.2e/iter, '
                'threshold = %.2e/iter) within last %d iterations. Stopping',
                *(last, last, -(threshold or 0.0), patience),
            )
            return _CALLBACK
        if iteration >= self.settings.maxiter:
            return _MAXIMUM
        if changes and abs(changes[-1]) < _CONVERGED:
            return _SUCCESS
        return None


def _best(results: Sequence[tuple[Potential, Metrics]]) -> int:
    # NaN compares as the worst.
    return min(range(len(results)), key=lambda index: float(np.nan_to_num(results[index][1].loss, nan=np.inf)))

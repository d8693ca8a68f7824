"""Parser of the training job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import CalcJob, ExitCode

from aiida_pacemaker.calculations.base import STATUS
from aiida_pacemaker.calculations.checks.training import warnings_about_counts
from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.frames.hashing import hex_hashes
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.output.failures import Failure, diagnose
from aiida_pacemaker.pace.output.interim import all_finite, usable_interims
from aiida_pacemaker.pace.output.logs import LogSummary, read_log
from aiida_pacemaker.pace.output.metrics import MetricsTable
from aiida_pacemaker.pace.output.potentials import strip_fit_cycles
from aiida_pacemaker.pace.output.predictions import read_predictions
from aiida_pacemaker.pace.penalty import warning_about_penalty
from aiida_pacemaker.parsers.training import TrainingParser

#: What every fit is to.
FITTED_LABELS = 'energies and forces; stress is carried, checked and reported, but never fitted by the engine'
#: Status of `scipy.optimize.minimize` for the maximum number of iterations.
MAXITER = 1
#: How many frames a warning names.
NAMED = 20


class PaceTrainParser(TrainingParser):
    """Attach potential, errors and learning curves, whatever there is of them, and then judge the fit."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        text = self.read_text(PaceTrainCalculation.LOG)
        log = self.summarise(read_log, PaceTrainCalculation.LOG, LogSummary())
        tables, unreadable = self.tables()
        potential, damaged = self.final_potential(log.n_functions)
        diverged = self.diverged(tables, potential)
        if potential is not None and diverged is None:
            self.out('potential', potential)
        else:
            self.attach_interim(tables, log)
        lacking: ExitCode | None = None
        left_out: list[str] = []
        if self.inputs.predict.value:
            lacking, left_out = self.attach_predictions(kwargs.get('retrieved_temporary_folder'), tables)
            self.attach_plots()
        self.attach_metrics(tables, log, potential, left_out, diverged=diverged is not None)
        if potential is None:
            # A file that was being written when the job was stopped is no more than that.
            damaged = None if self.exit_status is None else damaged
            return self.verdict(self.diagnose(text), diverged, damaged, self.interrupted(tables))
        return self.verdict(
            unreadable,
            self.skipped(tables, text),
            diverged,
            self.dropped(log),
            self.conversion(potential, tables),
            lacking,
        )

    def silent(self, folder: str | None = None) -> ExitCode:
        """Return the exit code of a fit without a word; where a conversion comes after it, its status is not known."""
        return self.died() if 'yace_code' in self.inputs else super().silent(folder)

    @property
    def weighted(self) -> bool:
        """Whether a weighting policy was asked for, which leaves out frames on purpose."""
        return parse_config(self.inputs.config.get_dict()).sections()['fit'].get('weighting') is not None

    def attach_interim(self, tables: dict[str, MetricsTable], log: LogSummary) -> None:
        """Attach the newest interim potential that the fit can be continued from."""
        # The steps of a ladder have fewer functions than the one that was stopped.
        n_functions = None if log.ladder else log.n_functions
        for name in usable_interims(self.names, tables.get('train')):
            try:
                stripped = strip_fit_cycles((self.read_bytes(name) or b'').decode()).encode()
                interim = self.build(stripped, None, n_functions)
                if not all_finite(stripped):
                    raise ValueError('its coefficients are not all finite')
            except ValueError as exception:
                # A kill can come while it is being written.
                self.logger.warning(f'{name} is left out: {exception}')
            else:
                self.out('interim_potential', interim)
                return

    def attach_metrics(
        self,
        tables: dict[str, MetricsTable],
        log: LogSummary,
        potential: PacePotentialData | None,
        said: Sequence[str],
        *,
        diverged: bool,
    ) -> None:
        """Attach the errors at the end, the learning curves and why the fit has ended, and say what is unusual.

        :param said: what there is to say already.
        """
        warnings = [
            *_range_warnings(log),
            *self.left_out(log),
            *said,
            *self.unchecked(log.engine_version),
            *self.counts(potential, log),
            *self.penalty(tables),
            *self.reach(),
            *self.unseen(potential),
        ]
        for warning in warnings:
            self.logger.warning(warning)
        if 'train' not in tables:
            return
        reason = 'diverged' if diverged else self.stop_reason(tables['train'], log, potential is not None)
        facts = {'engine_version': log.engine_version, 'n_fitted': log.n_train_fitted, 'fitted_labels': FITTED_LABELS}
        self.attach_fit(tables, reason, log.wall_time, warnings, facts)

    def stop_reason(self, train: MetricsTable, log: LogSummary, fitted: bool) -> str:
        """Return why the optimisation has ended, for one that has not diverged."""
        if not fitted:
            walltime = CalcJob.exit_codes.ERROR_SCHEDULER_OUT_OF_WALLTIME.status
            return 'walltime' if self.node.exit_status == walltime else 'interrupted'
        if log.stop_request is not None:
            return 'plateau'
        if log.early_stopping is not None:
            return 'early_stop'
        if log.optimizer is None:
            return 'maxiter' if self.exhausted(train) else 'converged'
        return 'maxiter' if log.optimizer.status == MAXITER else 'converged'

    def exhausted(self, train: MetricsTable) -> bool:
        """Tell whether Nelder-Mead has used up what it was allowed, for the engine cannot say how it has ended.

        SciPy counts its iterations from 1 and does no more when the count is `maxiter`: there are `maxiter - 1`.
        """
        inputs = self.inputs
        config = parse_config(inputs.config.get_dict())
        allowed = inputs.max_epochs.value if 'max_epochs' in inputs else config.maxiter
        if int(train['iter_num'][-1]) >= allowed - 1:
            return True
        evaluations = re.findall(r'Eval (\d{1,12}): loss=', self.read_text(PaceTrainCalculation.STDOUT)[-(2**16) :])
        maxfev = config.sections()['fit'].get('options', {}).get('maxfev')
        return maxfev is not None and bool(evaluations) and int(evaluations[-1]) >= maxfev

    def attach_predictions(
        self, folder: str | None, tables: dict[str, MetricsTable]
    ) -> tuple[ExitCode | None, list[str]]:
        """Attach what the engine predicts, in the order of the datasets.

        :returns: what there is to say of predictions that are missing, and of frames that have none.
        """
        arrays, texts, reasons = orm.ArrayData(), [], []
        inputs = self.inputs
        datasets = {
            label: inputs[name] for label, name in (('train', 'dataset'), ('test', 'test_dataset')) if name in inputs
        }
        size = self.table_size(datasets.values())
        for label, dataset in datasets.items():
            name = PaceTrainCalculation.PREDICTIONS[label]
            path = self.temporary(folder, name)
            if path is None:
                reasons.append(f'{name} is not there')
                continue
            n_atoms = np.concatenate([frames.n_atoms for frames in dataset.iterate()])
            try:
                found = read_predictions(path, hex_hashes(dataset.get_hashes()), n_atoms, max_size=size)
            except (ValueError, TypeError, OverflowError) as exception:
                reasons.append(f'{name}: {exception}')
                self.logger.warning(f'{name} is left out: {exception}')
                continue
            arrays.set_array(f'{label}_energy', found.energy)
            arrays.set_array(f'{label}_forces', found.forces)
            if len(found.left_out):
                arrays.set_array(f'{label}_left_out', found.left_out)
                numbers = ', '.join(map(str, found.left_out[:NAMED].tolist()))
                more = f' and {len(found.left_out) - NAMED} more' if len(found.left_out) > NAMED else ''
                texts.append(
                    f'The engine has left out {len(found.left_out)} of {len(n_atoms)} frames of the {label} set: '
                    f'frames {numbers}{more}, counted from 0. Their predictions are NaN.'
                )
        if arrays.get_arraynames():
            self.out('predictions', arrays)
        if not reasons:
            return None, texts
        if self.exit_status is None:
            # The job was stopped before or while it made them: there was no time to fail.
            return self.interrupted(tables), texts
        return self.exit_codes.ERROR_PREDICTIONS_MISSING.format(reason='; '.join(reasons)), texts

    def attach_plots(self) -> None:
        """Attach the plots of the engine."""
        plots = orm.FolderData()
        for root, _, names in self.repository.walk():
            for name in names:
                if str(root) == PaceTrainCalculation.REPORT or name.endswith('.png'):
                    content = self.repository.get_object_content(str(root / name), 'rb')
                    plots.base.repository.put_object_from_bytes(content, str(root / name))
        if plots.base.repository.list_object_names():
            self.out('report', plots)

    def skipped(self, tables: dict[str, MetricsTable], text: str) -> ExitCode | None:
        """Return what there is to say of a potential that comes without a single iteration."""
        if 'train' in tables:
            return None
        diagnosis = diagnose(self.job.PROGRAM, log=text, exit_status=0)
        if diagnosis is not None:
            return self.job.exit_code_of(diagnosis)
        message = (
            'The engine fitted nothing: it found no function to add to the potential that it started from. Extend it '
            'by a config with more functions, or set `potential_mode` to `continue`.'
        )
        return ExitCode(STATUS[Failure.ERROR_NOTHING_FITTED], message, invalidates_cache=True)

    def interrupted(self, tables: dict[str, MetricsTable]) -> ExitCode:
        """Return the exit code of a fit that ended without a potential and without a reason."""
        iterations = tables['train'].iterations if 'train' in tables else 0
        if not iterations and PaceTrainCalculation.LOG not in self.names:
            return self.silent()
        return self.exit_codes.ERROR_FIT_INTERRUPTED.format(iterations=iterations)

    def diverged(self, tables: dict[str, MetricsTable], potential: PacePotentialData | None) -> ExitCode | None:
        """Return what there is to say of a loss, an error or a coefficient that is not a number."""
        problem = tables['train'].divergence if 'train' in tables else None
        if problem is None and potential is not None and not all_finite(potential.get_b_basis()):
            problem = 'the coefficients of the potential are not all finite'
        return None if problem is None else self.exit_codes.ERROR_FIT_DIVERGED.format(problem=problem)

    def left_out(self, log: LogSummary) -> list[str]:
        """Return a warning of frames that a weighting policy has left out."""
        if not self.weighted or not log.n_dropped:
            return []
        return [f'{log.n_dropped} frames were not fitted: the weighting policy (fit.weighting) left them out.']

    def counts(self, potential: PacePotentialData | None, log: LogSummary) -> list[str]:
        """Return warnings of a fit that has few data for its functions."""
        if potential is None or 'dataset' not in self.inputs:
            return []
        fitted = log.n_trainable or log.n_parameters or potential.n_functions
        return warnings_about_counts(potential, self.inputs.dataset, fitted)

    def penalty(self, tables: dict[str, MetricsTable]) -> list[str]:
        """Return a warning of a fit that has continued from a potential with a penalty larger than its errors."""
        inputs = self.inputs
        continued = 'potential_mode' not in inputs or inputs.potential_mode.value == 'continue'
        if 'train' not in tables or 'potential' not in inputs or not continued:
            return []
        loss = parse_config(inputs.config.get_dict()).sections()['fit'].get('loss', {})
        found = warning_about_penalty(inputs.potential.get_b_basis(), loss, float(tables['train']['loss'][0]))
        return [] if found is None else [found]

    def dropped(self, log: LogSummary) -> ExitCode | None:
        """Return what there is to say of frames that the engine did not fit although it was to."""
        if not log.n_dropped or log.n_train_loaded is None or self.weighted:
            return None
        given = log.n_train_loaded + (log.n_test_loaded or 0)
        return self.exit_codes.ERROR_FRAMES_DROPPED.format(given=given, fitted=given - log.n_dropped)

    def conversion(self, potential: PacePotentialData, tables: dict[str, MetricsTable]) -> ExitCode | None:
        """Return what there is to say of a C-tilde potential that was asked for and is not there."""
        if 'yace_code' not in self.inputs or potential.has_c_tilde:
            return None
        if self.exit_status is None:
            # The job was stopped in the conversion or before it: there was no time to fail.
            return self.interrupted(tables)
        if PaceTrainCalculation.C_TILDE in self.names:
            reason = f'{PaceTrainCalculation.C_TILDE} is damaged'
        else:
            lines = self.read_text(PaceTrainCalculation.YACE_STDERR).strip().splitlines()
            reason = lines[-1] if lines else 'it gave no reason'
        return self.exit_codes.ERROR_CTILDE_MISSING.format(reason=reason)


def _range_warnings(log: LogSummary) -> list[str]:
    if log.energy_range is None:
        return []
    bounds = f'{log.energy_range.minimum:g} to {log.energy_range.maximum:g} eV/atom'
    return [
        f'Corrected energies of {bounds} are outside the range that the engine takes for sensible (-20 to 250 eV/atom):'
        ' check the reference energies.'
    ]

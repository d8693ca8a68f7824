"""Parser of the training job."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.engine.logs import LogSummary, read_log
from aiida_pacemaker.engine.metrics import MetricsFileError, MetricsTable, TrainingMetrics, read_metrics
from aiida_pacemaker.engine.potential_files import newest_interim, strip_fit_cycles
from aiida_pacemaker.frames.pickle_reading import read_table
from aiida_pacemaker.parsers.base import PaceParser

#: Status of `scipy.optimize.minimize` for the maximum number of iterations.
MAXITER = 1


class PaceTrainParser(PaceParser):
    """Attach potential, errors and learning curves, whatever there is of them, and then judge the fit."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        text = self.read_text(PaceTrainCalculation.LOG)
        log = read_log(text)
        tables = self.tables()
        fitted, invalid = self.attach_potentials()
        self.attach_metrics(tables, log, fitted)
        if self.node.inputs.predict.value:
            self.attach_predictions(kwargs.get('retrieved_temporary_folder'))
        return self.verdict(
            self.skipped(log),
            invalid,
            None if fitted else self.diagnose(text),
            None if fitted else self.interrupted(tables),
            self.diverged(tables),
            self.dropped(log),
            self.conversion(),
        )

    def tables(self) -> dict[str, MetricsTable]:
        """Return the metrics of each set of frames that has any rows."""
        tables = {}
        for label, name in PaceTrainCalculation.METRICS.items():
            try:
                table = read_metrics(self.read_text(name))
            except MetricsFileError as exception:
                self.logger.warning(f'{name} is left out: {exception}')
                continue
            if len(table):
                tables[label] = table
        return tables

    def attach_potentials(self) -> tuple[bool, ExitCode | None]:
        """Attach the fitted potential or, without one, the newest interim one.

        :returns: whether the fit has ended with a potential, and what is wrong with the file.
        """
        content = self.read_bytes(PaceTrainCalculation.POTENTIAL)
        interim = newest_interim(self.names)
        if content is not None:
            try:
                self.out('potential', self.build(content, self.read_bytes(PaceTrainCalculation.C_TILDE)))
            except ValueError as exception:
                return True, self.exit_codes.ERROR_POTENTIAL_INVALID.format(reason=str(exception))
        elif interim is not None:
            try:
                stripped = strip_fit_cycles((self.read_bytes(interim) or b'').decode())
                self.out('interim_potential', self.build(stripped.encode(), None))
            except ValueError as exception:
                # A kill can come while it is being written; the fit then has to begin again.
                self.logger.warning(f'{interim} is left out: {exception}')
        return content is not None, None

    def build(self, content: bytes, c_tilde: bytes | None) -> PacePotentialData:
        """Return a potential node, with the baseline and reference energies that it was fitted with."""
        return PacePotentialData(
            content,
            c_tilde=c_tilde,
            baseline=DeltaBaseline.model_validate(self.node.inputs.baseline.get_dict()),
            reference_energies=self.node.inputs.reference_energies.get_dict(),
        )

    def attach_metrics(self, tables: dict[str, MetricsTable], log: LogSummary, fitted: bool) -> None:
        """Attach the errors at the end and the learning curves."""
        if 'train' not in tables:
            return
        metrics = TrainingMetrics.from_tables(tables['train'], tables.get('test'), log.wall_time)
        content = {key: _finite(value) for key, value in asdict(metrics).items()}
        content['stop_reason'] = _stop_reason(log, tables['train'], fitted)
        content['warnings'] = _warnings(log)
        self.out('metrics', orm.Dict(content))
        curves = orm.ArrayData()
        for label, table in tables.items():
            for name, column in table.columns.items():
                curves.set_array(f'{label}_{name}', np.asarray(column))
        self.out('learning_curves', curves)

    def attach_predictions(self, folder: str | None) -> None:
        """Attach what the engine predicts and its plots."""
        arrays = orm.ArrayData()
        for label, name in PaceTrainCalculation.PREDICTIONS.items():
            path = self.temporary(folder, name)
            if path is None:
                continue
            try:
                columns = read_table(path).columns
                arrays.set_array(f'{label}_energy', np.asarray(columns['energy_pred'], dtype=float).reshape(-1))
                arrays.set_array(f'{label}_forces', np.concatenate(columns['forces_pred']).astype(float))
            except (ValueError, KeyError) as exception:
                self.logger.warning(f'{name} is left out: {exception}')
        if arrays.get_arraynames():
            self.out('predictions', arrays)
        plots = orm.FolderData()
        for root, _, names in self.retrieved.base.repository.walk():
            for name in names:
                if name.endswith('.png'):
                    content = self.retrieved.base.repository.get_object_content(str(root / name), 'rb')
                    plots.base.repository.put_object_from_bytes(content, str(root / name))
        if plots.base.repository.list_object_names():
            self.out('report', plots)

    def skipped(self, log: LogSummary) -> ExitCode | None:
        """Return what there is to say if the engine took the potential to start from as finished."""
        return self.diagnose_skipped() if log.nothing_fitted else None

    def diagnose_skipped(self) -> ExitCode:
        """Return the exit code of a fit that did nothing."""
        return self.exit_codes.ERROR_NOTHING_FITTED.format(done='all', cycles='its')

    def interrupted(self, tables: dict[str, MetricsTable]) -> ExitCode:
        """Return the exit code of a fit that ended without a potential and without a reason."""
        iterations = tables['train'].iterations if 'train' in tables else 0
        if not iterations and PaceTrainCalculation.LOG not in self.names:
            return self.silent()
        return self.exit_codes.ERROR_FIT_INTERRUPTED.format(iterations=iterations)

    def diverged(self, tables: dict[str, MetricsTable]) -> ExitCode | None:
        """Return what there is to say of a loss that is not a number."""
        if 'train' not in tables or not tables['train'].diverged:
            return None
        problem = f'the loss is {tables["train"]["loss"][-1]} after {tables["train"].iterations} iterations'
        return self.exit_codes.ERROR_FIT_DIVERGED.format(problem=problem)

    def dropped(self, log: LogSummary) -> ExitCode | None:
        """Return what there is to say of frames that the engine did not fit."""
        if not log.n_dropped or log.n_train_loaded is None:
            return None
        given = log.n_train_loaded + (log.n_test_loaded or 0)
        return self.exit_codes.ERROR_FRAMES_DROPPED.format(given=given, fitted=given - log.n_dropped)

    def conversion(self) -> ExitCode | None:
        """Return what there is to say of a C-tilde potential that was asked for and is not there."""
        if 'yace_code' not in self.node.inputs or PaceTrainCalculation.C_TILDE in self.names:
            return None
        lines = self.read_text(PaceTrainCalculation.YACE_STDERR).strip().splitlines()
        return self.exit_codes.ERROR_CTILDE_MISSING.format(reason=lines[-1] if lines else 'it gave no reason')


def _stop_reason(log: LogSummary, train: MetricsTable, fitted: bool) -> str:
    if train.diverged:
        return 'diverged'
    if not fitted:
        return 'interrupted'
    if log.early_stopping is not None:
        return 'early_stop'
    if log.optimizer is not None and log.optimizer.status == MAXITER:
        return 'maxiter'
    return 'converged'


def _warnings(log: LogSummary) -> list[str]:
    if log.energy_range is None:
        return []
    bounds = f'{log.energy_range.minimum:g} to {log.energy_range.maximum:g} eV/atom'
    return [
        f'Corrected energies of {bounds} are outside the range that the engine takes for sensible (-20 to 250 eV/atom):'
        ' check the reference energies.'
    ]


def _finite(value: Any) -> Any:
    """Return a value as the database can hold it: numbers that are not finite become None."""
    return None if isinstance(value, float) and not np.isfinite(value) else value

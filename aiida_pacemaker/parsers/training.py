"""What the parsers of the jobs that fit a potential have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.checks.baseline import warnings_about_reach
from aiida_pacemaker.calculations.training_job import TrainingJob
from aiida_pacemaker.calculations.unseen import unseen_by
from aiida_pacemaker.data.learning_curves import curves_from_tables
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.errors import PotentialFileError
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.output.metrics import MetricsTable, TrainingMetrics, read_metrics
from aiida_pacemaker.pace.output.potentials import read_ctilde
from aiida_pacemaker.pace.versions import untested
from aiida_pacemaker.parsers.base import PaceParser, finite


class TrainingParser(PaceParser):
    """Base of the parsers of fits: the potential, the tables of its errors, and what is unusual about it."""

    @property
    def job(self) -> type[TrainingJob]:
        """The class of the calculation job."""
        process_class: Any = self.node.process_class
        return process_class

    def tables(self) -> tuple[dict[str, MetricsTable], ExitCode | None]:
        """Return the metrics of each set of frames that has any rows, and what is wrong with those of the training."""
        tables: dict[str, MetricsTable] = {}
        unreadable = None
        for label, name in self.job.METRICS.items():
            try:
                if name not in self.names and label == 'train':
                    raise ValueError('it is not there')
                table = read_metrics(self.read_text(name))
                if not len(table):
                    continue
                # The names become those of arrays, and the columns have to be those of a running table.
                if not all(re.fullmatch(r'\w+', column, re.ASCII) for column in table.columns):
                    raise ValueError(f'its header is {sorted(table.columns)}')
                TrainingMetrics.from_tables(table)
            except (ValueError, KeyError, OverflowError) as exception:
                self.logger.warning(f'{name} is left out: {exception}')
                if label == 'train':
                    unreadable = self.exit_codes.ERROR_METRICS_INVALID.format(reason=f'{name}: {exception}')
                continue
            tables[label] = table
        return tables, unreadable

    def final_potential(self, n_functions: int | None) -> tuple[PacePotentialData | None, ExitCode | None]:
        """Return the potential that the fit ended with, if there is one, and what is wrong with its file.

        :param n_functions: how many functions were fitted, if that is known.
        """
        content = self.read_bytes(self.job.POTENTIAL)
        if content is None:
            return None, None
        try:
            return self.build(content, self.c_tilde(), n_functions), None
        except ValueError as exception:
            return None, self.exit_codes.ERROR_POTENTIAL_INVALID.format(reason=str(exception))

    def c_tilde(self) -> bytes | None:
        """Return the C-tilde potential if there is a usable one."""
        content = self.read_bytes(self.job.C_TILDE)
        try:
            if content is not None:
                read_ctilde(content)
        except PotentialFileError as exception:
            self.logger.warning(f'{self.job.C_TILDE} is left out: {exception}')
            return None
        return content

    def build(self, content: bytes, c_tilde: bytes | None, n_functions: int | None) -> PacePotentialData:
        """Return a potential node, with the baseline and reference energies that it was fitted with.

        :param n_functions: how many functions were fitted, if that is known.
        :raises ValueError: if the content is no potential, or not all of one: the format has no end mark, so a file
            that is cut between two functions reads as a smaller potential.
        """
        potential = PacePotentialData(
            content,
            c_tilde=c_tilde,
            baseline=DeltaBaseline.model_validate(self.inputs.baseline.get_dict()),
            reference_energies=self.inputs.reference_energies.get_dict(),
        )
        if n_functions is not None and potential.n_functions != n_functions:
            raise ValueError(f'{n_functions} functions were fitted but the file has {potential.n_functions}: it is cut')
        return potential

    def attach_fit(
        self,
        tables: dict[str, MetricsTable],
        reason: str,
        training_time: float | None,
        warnings: Sequence[str],
        facts: Mapping[str, Any],
    ) -> None:
        """Attach the errors at the end, the learning curves and why the fit has ended.

        :param tables: those of the training set, and of the test set if there is one.
        :param reason: why it has ended.
        :param training_time: in seconds.
        :param warnings: what is unusual about it.
        :param facts: all else that `metrics` has.
        """
        metrics = TrainingMetrics.from_tables(tables['train'], tables.get('test'), training_time)
        config = parse_config(self.inputs.config.get_dict())
        said = {'stop_reason': reason, 'evaluator': config.used_evaluator, 'warnings': list(warnings), **facts}
        self.out('metrics', orm.Dict({**finite(asdict(metrics)), **said}))
        self.out('stop_reason', orm.Str(reason))
        self.out('learning_curves', curves_from_tables(tables))

    def reach(self) -> list[str]:
        """Return in words where the baseline acts on the labels, as far as these are known."""
        inputs = self.inputs
        if 'dataset' not in inputs:
            return []
        return warnings_about_reach(DeltaBaseline.model_validate(inputs.baseline.get_dict()), inputs.dataset)

    def unseen(self, potential: PacePotentialData | None) -> list[str]:
        """Return a warning of interactions that the potential has functions for and the dataset no atoms."""
        if potential is None or 'dataset' not in self.inputs:
            return []
        warning = unseen_by([self.inputs.dataset], potential).warning
        return [warning] if warning else []

    def unchecked(self, engine_version: str | None) -> list[str]:
        """Return warnings of an engine that was not tested, of settings in `extra`, and of forces without weight."""
        version = untested(engine_version)
        config = parse_config(self.inputs.config.get_dict())
        extra = config.extra
        passed = [f'{section}.{key}: {extra[section][key]!r}' for section in sorted(extra) for key in extra[section]]
        settings = f'Passed on to the engine as they are, unchecked (`extra`): {"; ".join(passed)}.' if passed else None
        forces = (
            'The forces were not fitted: `fit.loss.kappa`, their weight, is 0, the default of the engine. Give another.'
            if config.fits_no_forces
            else None
        )
        return [warning for warning in (version, settings, forces) if warning is not None]

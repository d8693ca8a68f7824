"""Parser of the job of linear fits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.analysis.contributions import contributions
from aiida_pacemaker.calculations.checks.training import warnings_about_counts
from aiida_pacemaker.calculations.fit_linear import PaceLinearFitCalculation
from aiida_pacemaker.calculations.staging import KEPT, note_kept
from aiida_pacemaker.data.arrays import array_data
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.drivers.linear_files import (
    FrameErrors,
    Summary,
    read_frame_errors,
    read_linear_predictions,
    read_posterior,
    read_summary,
)
from aiida_pacemaker.errors import LinearFitFileError
from aiida_pacemaker.frames.hashing import hex_hashes
from aiida_pacemaker.pace.output.interim import all_finite
from aiida_pacemaker.pace.output.metrics import MetricsTable
from aiida_pacemaker.parsers.base import finite
from aiida_pacemaker.parsers.training import TrainingParser

#: A fit whose errors on frames that were left out are more than so many times those on what was fitted is warned of.
WORSE = 2.0
#: Depth from which two atoms that attract each other below the data are warned of, in eV.
DIP = 0.1
#: How many frames `fit` names as the worst, and how many sources as those that determine most.
WORST = 10
#: The level of theory of sources of which it is not known.
UNKNOWN = 'unknown'


@dataclass
class Read:
    """What was read of the files of a fit.

    :param summary: what is looked at of what the fit says of itself; None if that cannot be read.
    :param content: all of it.
    :param damaged: what cannot be read although the fit has come to its end.
    """

    summary: Summary | None = None
    content: dict[str, Any] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


class PaceLinearFitParser(TrainingParser):
    """Attach potential, errors and error bars, whatever there is of them, and then judge the fit."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        self.note_equations()
        if PaceLinearFitCalculation.SUMMARY not in self.names:
            # Written last: what is there without it may be cut, or was not checked against the equations.
            return self.verdict(self.diagnose(), self.silent())
        folder = kwargs.get('retrieved_temporary_folder')
        read, invalid = self.summary()
        summary = read.summary
        tables, unreadable = self.tables()
        potential, damaged = self.final_potential(sum(summary.n_functions.values()) if summary else None)
        reason = None
        if potential is None and damaged is None:
            reason = f'{PaceLinearFitCalculation.POTENTIAL} is not there'
        elif potential is not None and not all_finite(potential.get_b_basis()):
            potential, reason = None, 'its coefficients are not all finite'
        if reason is not None:
            damaged = self.exit_codes.ERROR_POTENTIAL_INVALID.format(reason=reason)
        problem = tables['train'].divergence if 'train' in tables else 'it has no row'
        if unreadable is None and problem is not None:
            reason = f'{PaceLinearFitCalculation.METRICS["train"]}: {problem}'
            unreadable = self.exit_codes.ERROR_METRICS_INVALID.format(reason=reason)
        lacking = self.attach_error_bars(folder, read)
        unpredicted = self.attach_predictions(folder) if self.inputs.predict.value else None
        if potential is not None:
            self.out('potential', potential)
        if summary is not None:
            self.out('fit', orm.Dict(finite(read.content)))
        self.attach_metrics(tables, summary, potential)
        problems = damaged, unreadable, invalid, self.conversion(potential), lacking, unpredicted
        return self.verdict(*(None if one is None else self.unusable(one, folder) for one in problems))

    def note_equations(self) -> None:
        """Note the equations that the computer has now, also those of a fit that has come to no end."""
        said = self.read_text(KEPT)
        if said:
            request = self.node.base.repository.get_object_content(PaceLinearFitCalculation.REQUEST, 'r')
            note_kept(self.node, said, set(json.loads(request)['equations'].values()))

    def summary(self) -> tuple[Read, ExitCode | None]:
        """Return what the fit says of itself, and what is wrong with that."""
        name = PaceLinearFitCalculation.SUMMARY
        try:
            summary, content = read_summary(self.read_text(name))
            finite(content)
        except ValueError as exception:
            self.logger.warning(f'{name} is left out: {exception}')
            return Read(), self.exit_codes.ERROR_FIT_INVALID.format(reason=f'{name}: {exception}')
        return Read(summary, content), None

    def attach_error_bars(self, folder: str | None, read: Read) -> ExitCode | None:
        """Attach the posterior and the errors of single frames.

        :param read: gets the worst frames.
        :returns: what there is to say of what is missing.
        """
        if read.summary is None:
            # How large they are is said there.
            return None
        reasons = []
        for attach in (self.attach_posterior, self.attach_frame_errors):
            try:
                attach(folder, read)
            except LinearFitFileError as exception:
                self.logger.warning(str(exception))
                reasons.append(str(exception))
        return self.exit_codes.ERROR_ERROR_BARS_MISSING.format(reason='; '.join(reasons)) if reasons else None

    def attach_posterior(self, folder: str | None, read: Read) -> None:
        """Attach how uncertain the coefficients are.

        :raises LinearFitFileError: if the file cannot be used.
        """
        name = PaceLinearFitCalculation.POSTERIOR
        path = self.temporary(folder, name)
        if path is None or read.summary is None:
            raise LinearFitFileError(f'{name} is not there')
        self.out('posterior', array_data(read_posterior(path, sum(read.summary.n_functions.values()))))

    def attach_frame_errors(self, folder: str | None, read: Read) -> None:
        """Attach the errors of single frames by a fit without them.

        :raises LinearFitFileError: if the file cannot be used.
        """
        name = PaceLinearFitCalculation.FRAME_ERRORS
        path = self.temporary(folder, name)
        if path is None or read.summary is None:
            raise LinearFitFileError(f'{name} is not there')
        hashes = hex_hashes(self.inputs.dataset.get_hashes())
        errors = read_frame_errors(path, read.summary.cross_validation.n_frames, hashes)
        self.out('frame_errors', array_data(vars(errors)))
        read.content['worst_frames'] = errors.worst(WORST)
        read.content['contributions'] = contributions_to(errors, self.inputs.dataset)

    def attach_predictions(self, folder: str | None) -> ExitCode | None:
        """Attach what the fit predicts, in the order of the datasets, and return what there is to say of what lacks."""
        arrays, reasons = orm.ArrayData(), []
        for label, port in (('train', 'dataset'), ('test', 'test_dataset')):
            if port not in self.inputs:
                continue
            dataset, name = self.inputs[port], PaceLinearFitCalculation.PREDICTIONS[label]
            path = self.temporary(folder, name)
            try:
                if path is None:
                    raise LinearFitFileError(f'{name} is not there')
                found = read_linear_predictions(path, dataset.n_frames, dataset.n_atoms)
            except LinearFitFileError as exception:
                self.logger.warning(str(exception))
                reasons.append(str(exception))
                continue
            for key, values in found.items():
                arrays.set_array(f'{label}_{key}', values)
        if arrays.get_arraynames():
            self.out('predictions', arrays)
        return self.exit_codes.ERROR_PREDICTIONS_MISSING.format(reason='; '.join(reasons)) if reasons else None

    def attach_metrics(
        self, tables: dict[str, MetricsTable], summary: Summary | None, potential: PacePotentialData | None
    ) -> None:
        """Attach the errors and how the fit has ended, and say what is unusual."""
        warnings = [
            *self.unchecked(summary.versions.get('pyace') if summary else None),
            *self.counts(potential, summary),
            *self.reach(),
            *self.unseen(potential),
            *(validation_warnings(summary) if summary else ()),
            *(dip_warnings(summary) if summary else ()),
        ]
        for warning in warnings:
            self.logger.warning(warning)
        if 'train' not in tables:
            return
        facts: dict[str, Any] = {'engine_version': None, 'n_fitted': None, 'fitted_labels': 'energies and forces'}
        if summary is not None:
            facts = {
                'engine_version': summary.versions.get('pyace'),
                'n_fitted': summary.n_frames,
                'fitted_labels': 'energies, forces and stress' if fits_stress(summary) else 'energies and forces',
                'energy_reference': summary.energy_reference,
                'cross_validation': summary.cross_validation.model_dump(),
            }
        self.attach_fit(tables, 'converged', summary.seconds if summary else None, warnings, finite(facts))

    def counts(self, potential: PacePotentialData | None, summary: Summary | None) -> list[str]:
        """Return warnings of a fit that has few data for its functions."""
        if potential is None or summary is None or 'dataset' not in self.inputs:
            return []
        n_equations = sum(summary.n_equations.values())
        return warnings_about_counts(potential, self.inputs.dataset, potential.n_functions, n_equations)

    def conversion(self, potential: PacePotentialData | None) -> ExitCode | None:
        """Return what there is to say of a `.yace` that is not there."""
        if potential is None or potential.has_c_tilde:
            return None
        name = PaceLinearFitCalculation.C_TILDE
        reason = f'{name} is {"damaged" if name in self.names else "not there"}'
        return self.exit_codes.ERROR_CTILDE_MISSING.format(reason=reason)


def contributions_to(errors: FrameErrors, dataset: PaceDatasetData) -> dict[str, Any]:
    """Return what the sources and the levels of theory of a dataset contribute to its fit, as plain data."""
    sources = np.array(dataset.get_sources(), dtype=object)[errors.frame].tolist()
    theories, of_source = dataset.levels, dataset.level_of_source
    columns = errors.energy, errors.forces, errors.leverage
    by_source = contributions(sources, *columns)
    by_level = contributions([of_source.get(key, UNKNOWN) for key in sources], *columns)
    return {
        'n_sources': len(by_source),
        'sources': [{'source': key, **vars(found)} for key, found in islice(by_source.items(), WORST)],
        'levels': [
            {'level': theories[level].code if level in theories else level, 'fingerprint': level, **vars(found)}
            for level, found in by_level.items()
        ],
    }


def fits_stress(summary: Summary) -> bool:
    """Return whether stresses were fitted."""
    return summary.n_equations.get('virial', 0) > 0


def validation_warnings(summary: Summary) -> list[str]:
    """Return what there is to say of a fit by frames that were left out of it."""
    left_out, warnings = summary.cross_validation, []
    compared = {
        'energies': (left_out.rmse_energy, summary.rmse.get('energy'), 'meV/atom'),
        'forces': (left_out.rmse_forces, summary.rmse.get('forces'), 'meV/Å'),
    }
    if left_out.n_frames < left_out.of:
        warnings.append(
            f'Errors of frames that were left out, error bars and errors of single frames are those of a sample of '
            f'{left_out.n_frames} of {left_out.of} frames.'
        )
    worse = [
        f'{kind}: {1000 * error:.3g} instead of {1000 * fitted:.3g} {unit}'
        for kind, (error, fitted, unit) in compared.items()
        if error is not None and fitted is not None and np.isfinite([error, fitted]).all() and error > WORSE * fitted
    ]
    if worse:
        warnings.append(
            f'Frames that were left out of the fit have larger errors ({"; ".join(worse)}): it is overfitted. Add '
            'frames, or use fewer functions (`max_deg`).'
        )
    if summary.calibration.get('forces') is None:
        warnings.append(
            'There are no error bars: they are calibrated on frames that were left out of the fit, of which there are '
            'too few.'
        )
    return warnings


def dip_warnings(summary: Summary) -> list[str]:
    """Return what there is to say of atoms that attract each other where they are closer than in the data."""
    return [
        f'Two atoms {pair} alone gain {dip.depth:.1f} eV while they approach to {dip.distance:.2f} Å, below the '
        'shortest distance in the data: what comes that close may collapse. Add frames with such distances.'
        for pair, dip in summary.dips.items()
        if dip.depth >= DIP
    ]

"""The job of exact linear fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_pacemaker import linear
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.checks.inputs import all_of
from aiida_pacemaker.calculations.declarations import declared
from aiida_pacemaker.calculations.monitors import of_iterations
from aiida_pacemaker.calculations.staging import equations_files, training_files
from aiida_pacemaker.calculations.training_job import TrainingJob, writes_weights
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.data.surveys import lowest_energy_of, survey_of
from aiida_pacemaker.errors import ConfigError, PotentialFileError
from aiida_pacemaker.frames import handedness
from aiida_pacemaker.pace.config.linear import LinearFit, follows_lowest_energy, linear_fit_of
from aiida_pacemaker.pace.config.short_range import initial_potential, use_baseline
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.output.potentials import strip_fit_cycles

#: The matrices are small: threads of a linear algebra library cost more than they bring, and many times as much where
#: cores are busy. Who sets the variable (`metadata.options.environment_variables`) decides.
ONE_THREAD = 'export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}'
#: Parts of a weighting that act on the kinds of equations alone: the weights of frames follow from the others.
OF_KINDS = ('ratio', 'virial', 'kappa')


def fit_of(inputs: Any) -> LinearFit:
    """Return what a linear fit is asked to do, with all that follows from the dataset and the baseline.

    :param inputs: of the job.
    :raises ConfigError: if the config is not that of a linear fit, or contradicts the baseline.
    """
    config = parse_config(inputs['config'].get_dict())
    baseline = DeltaBaseline.model_validate(inputs['baseline'].get_dict())
    dataset = inputs['dataset']
    fit = linear_fit_of(config, survey_of(dataset, config.cutoff).atoms)
    # The functions of a given potential leave no choice.
    candidates = [] if 'potential' in inputs else fit.candidates
    asked = None if config.linear is None else config.linear.repulsion
    if baseline.engine_repulsion and fit.repulsion is None:
        raise ConfigError(
            'linear.repulsion: found 0, but the baseline (mode core) leaves the repulsion to the fit; needed: a part '
            'of the shortest distances, such as 0.6, or another mode of the baseline'
        )
    if not baseline.engine_repulsion and asked:
        raise ConfigError(
            f'linear.repulsion: found {asked}, by which the fit adds ZBL, and the baseline has the mode '
            f'{baseline.mode}; needed: only one of them. Leave it out, or give a baseline that leaves ZBL to the fit, '
            "DeltaBaseline.for_elements(elements, mode='core')"
        )
    weighting = dict(fit.weighting)
    if follows_lowest_energy(config):
        weighting['reference'] = lowest_energy_of(dataset, baseline, inputs['reference_energies'].get_dict())
    changes = {
        'potential': _with_baseline(fit.potential, baseline),
        'candidates': [{**one, 'potential': _with_baseline(one['potential'], baseline)} for one in candidates],
        'repulsion': fit.repulsion if baseline.engine_repulsion else None,
        'weighting': weighting,
    }
    return LinearFit(**{**vars(fit), **changes})


def _with_baseline(potential: dict[str, Any], baseline: DeltaBaseline) -> dict[str, Any]:
    """Return a section `potential` with what a baseline asks of the engine at short range.

    :raises ConfigError: if they contradict each other.
    """
    sections: dict[str, Any] = {'potential': deepcopy(potential), 'fit': {}}
    use_baseline(sections, baseline)
    return dict(sections['potential'])


def functions_from(potential: PacePotentialData, inputs: Any, repulsion: float | None) -> bytes:
    """Return a potential whose functions are fitted anew, as the fit is to begin with it.

    :param repulsion: that of the fit: it sets the cores of the potential anew.
    :raises PotentialFileError: if it is not written as the engine writes it.
    """
    baseline = DeltaBaseline.model_validate(inputs['baseline'].get_dict())
    content = strip_fit_cycles(potential.get_b_basis().decode())
    return initial_potential(content, baseline, None if repulsion is None else 'auto').encode()


def workers_of(inputs: Any) -> int:
    """Return how many processes a fit has: those of its config, or as many as the job asks for cores.

    :param inputs: of the job.
    """
    asked = parse_config(inputs['config'].get_dict()).sections()['backend'].get('n_workers')
    if asked is not None:
        return int(asked)
    resources = inputs.get('metadata', {}).get('options', {}).get('resources') or {}
    if cores := resources.get('num_cores_per_machine'):
        return int(cores)
    processes = resources.get('num_mpiprocs_per_machine') or resources.get('tot_num_mpiprocs') or 1
    return int(processes) * int(resources.get('num_cores_per_mpiproc') or 1)


def origin_of(fit: LinearFit, functions: bytes | None, inputs: Any) -> dict[str, Any]:
    """Return what equations follow from beside the table of structures, as plain data.

    :param functions: content of the potential whose functions are fitted, if they are not those of the config.
    """
    weighting = {key: value for key, value in fit.weighting.items() if key not in OF_KINDS}
    if weighting.get('scale') is None and weighting.get('offsets') is None:
        # All frames have the same weight.
        del weighting['reference']
    elif weighting['reference'] is None:
        # It follows from all energies, of the test set too.
        datasets = [inputs[name] for name in ('dataset', 'test_dataset') if name in inputs]
        weighting['reference'] = [shard['name'] for dataset in datasets for shard in dataset.shards]
    basis: Any = {'potential': fit.potential, 'degree': fit.degree, 'first': fit.first}
    return {
        'basis': basis if functions is None else hashlib.sha256(functions).hexdigest(),
        'weighting': weighting,
        'virial': fit.virial,
        'reference_energies': inputs['reference_energies'].get_dict(),
        'engine': declared(inputs['code']).version if 'code' in inputs else None,
    }


def check_functions(inputs: Mapping[str, Any]) -> str | None:
    """Return what keeps the functions of a given potential from being fitted."""
    if 'potential' not in inputs or 'config' not in inputs:
        return None
    given, needed = set(inputs['potential'].elements), set(parse_config(inputs['config'].get_dict()).elements)
    if given != needed:
        return (
            f'the functions of `potential` are of {", ".join(sorted(given))} and the config is for '
            f'{", ".join(sorted(needed))}: leave it out, and the functions are those of the config.'
        )
    return None


def refuse_monitors(monitors: Any, _: Any) -> str | None:
    """Refuse monitors that follow iterations."""
    useless = of_iterations(monitors or {})
    if useless:
        return (
            f'`monitors`: {", ".join(useless)} would look at iterations, which an exact fit does not have: leave it out'
        )
    return None


class PaceLinearFitCalculation(TrainingJob):
    """Fit an ACE potential that is linear in its coefficients exactly: `evaluator: linear` of the config.

    The code is the Python interpreter that the engine is installed in. The baseline is subtracted from the labels on
    the way there, and the potential that comes back carries it and has a `.yace`. Stresses are fitted too where there
    are any. The equations of each shard of the dataset stay on the computer: a later fit of the same functions to a
    larger dataset computes only those of what is new.
    """

    DRIVER: ClassVar[str] = 'fit_linear.py'
    REQUEST: ClassVar[str] = 'fit_linear.json'
    SUMMARY: ClassVar[str] = 'linear_fit.json'
    POSTERIOR: ClassVar[str] = 'posterior.npz'
    FRAME_ERRORS: ClassVar[str] = 'frame_errors.npz'
    PREDICTIONS: ClassVar[dict[str, str]] = {'train': 'train_predictions.npz', 'test': 'test_predictions.npz'}
    EVALUATORS = ('linear',)

    PROGRAM = 'fit_linear.py'
    PARSER = 'pacemaker.train.linear'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input(
            'potential',
            valid_type=PacePotentialData,
            required=False,
            help='A potential whose functions are fitted, in place of those of the config. Its coefficients do not '
            'matter: they are solved for anew.',
        )
        monitors: Any = spec.inputs['monitors']
        monitors.validator = all_of(monitors.validator, refuse_monitors)
        spec.output(
            'metrics',
            valid_type=orm.Dict,
            required=False,
            help='The errors of the fit (`TrainingMetrics`; what is not known is None) by the `evaluator` `linear` on '
            'its `n_fitted` frames; `cross_validation`, the errors of frames that were left out (eV/atom, '
            'eV/angstrom); `energy_reference` of the weights in eV/atom; `stop_reason`, `engine_version`, `warnings` '
            'in words, and `fitted_labels`.',
        )
        spec.output('stop_reason', valid_type=orm.Str, required=False, help='`converged`: the fit is an exact one.')
        spec.output(
            'fit',
            valid_type=orm.Dict,
            required=False,
            help='What the fit says of itself: numbers of functions, equations and frames (`n_reused` of them with '
            'equations of earlier jobs), noise, priors, errors of frames that were left out, `calibration` of error '
            'bars, shortest distances, where the functions give way to ZBL (`repulsion`), by how much the energy of '
            'two atoms alone falls between there and the data (`dips`, eV and angstrom), times, versions, and '
            '`worst_frames` by their errors when left out. `contributions` says what the `levels` of theory and the '
            'ten `sources` that determine most contribute: frames, parameters that they determine, and errors of '
            'their frames when left out (eV/atom, eV/angstrom).',
        )
        spec.output(
            'posterior',
            valid_type=orm.ArrayData,
            required=False,
            help='How uncertain the coefficients are: arrays `coefficients` (K,), positions `used` (U,) of those that '
            'the data determine, their `scale` (U,), and `root` (U, R): the covariance of the coefficients that are '
            'used is that of `scale * (root @ n)` for standard normal `n`. `calibration` (2, 2) has factor and offset '
            'of the error bars of energies and of forces, `sigma^2 = factor^2 spread^2 + offset^2`; NaN where there '
            'were too few frames. `precisions` (3,): the inverse noise of an energy per atom (1/eV), a force component '
            '(angstrom/eV) and a virial per atom (1/eV) of weight 1. An input of `pacemaker.evaluate` and of '
            '`pacemaker.select.posterior`.',
        )
        spec.output(
            'frame_errors',
            valid_type=orm.ArrayData,
            required=False,
            help='Errors of single frames by a fit without them: arrays `frame` (positions in the dataset), `energy` '
            '(eV/atom), `forces` (root mean square, eV/angstrom) and `leverage` (number of parameters that the frame '
            'alone determines). Of large datasets a sample.',
        )
        spec.exit_code(
            313,
            'ERROR_FIT_INVALID',
            invalidates_cache=True,
            message='What the fit says of itself cannot be used: {reason}. Look at the files in the output '
            '`retrieved`.',
        )
        spec.exit_code(
            510,
            'ERROR_CTILDE_MISSING',
            invalidates_cache=True,
            message='The potential was fitted but its `.yace` cannot be used: {reason}. The output `potential` is '
            'there without it: write it to a file and run `pace_yaml2yace` on that.',
        )
        spec.exit_code(
            512,
            'ERROR_ERROR_BARS_MISSING',
            invalidates_cache=True,
            message='The potential was fitted but what its error bars follow from cannot be used: {reason}. The output '
            '`potential` is there without it: run the fit again for them.',
        )

    @classmethod
    def validate_evaluator(cls, inputs: Any, port: Any) -> str | None:
        """Check that the fit is a linear one, of functions that are those of the config."""
        return super().validate_evaluator(inputs, port) or check_functions(inputs)

    @staticmethod
    def validate_input(inputs: Any, _: Any) -> str | None:
        """Check that the input of the driver can be written."""
        # A work chain that wraps the job may provide some of these itself.
        if any(name not in inputs for name in ('dataset', 'config', 'baseline', 'reference_energies')):
            return None
        try:
            fit = fit_of(inputs)
            if 'potential' in inputs:
                functions_from(inputs['potential'], inputs, fit.repulsion)
        except ConfigError as exception:
            return str(exception)
        except PotentialFileError as exception:
            return f'the potential whose functions are fitted: {exception}'
        return None

    @classmethod
    def insert_program(cls, folder: Folder) -> None:
        """Put the driver into a folder, with all that it imports of this package."""
        cls.insert_drivers(folder, cls.DRIVER, 'summary.py', 'tables.py')
        cls.insert_modules(folder, [handedness])
        cls.insert_package(folder, linear)

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the inputs of the driver."""
        inputs = self.inputs
        fit = fit_of(inputs)
        baseline = DeltaBaseline.model_validate(inputs.baseline.get_dict())
        info = self.calc_info(
            [self.code_info(inputs.code, [self.DRIVER])],
            retrieve=[
                self.STDOUT,
                self.STDERR,
                *self.METRICS.values(),
                self.POTENTIAL,
                self.C_TILDE,
                self.SUMMARY,
            ],
        )
        info.prepend_text = f'{info.prepend_text}\n{ONE_THREAD}'
        info.retrieve_temporary_list = [self.POSTERIOR, self.FRAME_ERRORS]
        if inputs.predict.value:
            info.retrieve_temporary_list += self.PREDICTIONS.values()
        columns = {'weights': writes_weights(inputs), 'stress': fit.virial}
        functions = None
        test: list[str] = []
        with self.stage(folder, info) as staging:
            if 'potential' in inputs:
                functions = functions_from(inputs.potential, inputs, fit.repulsion)
                staging.content(functions, self.INITIAL)
            train = staging.training(inputs.dataset, baseline, **columns)
            if 'test_dataset' in inputs:
                # Its errors need no weights.
                test = staging.training(inputs.test_dataset, baseline)
            equations = {}
            # What is chosen by cross-validation is not known before.
            if not fit.candidates:
                tables = training_files(inputs.dataset, baseline, **columns)
                equations = equations_files(tables, origin_of(fit, functions, inputs))
            staging.equations(equations.values())
            staging.keep(self.POTENTIAL)
        request = {
            **{name: getattr(fit, name) for name in ('potential', 'degree', 'first', 'weighting', 'prior', 'penalty')},
            'candidates': fit.candidates,
            'virial': fit.virial,
            'repulsion': fit.repulsion,
            'initial': None if functions is None else self.INITIAL,
            'train': train,
            'test': test,
            'equations': equations,
            'reference_energies': inputs.reference_energies.get_dict(),
            'n_workers': workers_of(inputs),
            'predict': inputs.predict.value,
        }
        self.insert_program(folder)
        with folder.open(self.REQUEST, 'w') as handle:
            json.dump(request, handle, indent=1)
        return info

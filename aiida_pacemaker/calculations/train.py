"""The training job: `pacemaker`."""

from __future__ import annotations

import io
from typing import Any, ClassVar

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.datastructures import CodeRunMode
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import to_aiida_type

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.checks.initial_potentials import initial_potentials, keeps_core, mode_of
from aiida_pacemaker.calculations.checks.inputs import all_of
from aiida_pacemaker.calculations.monitors import validate_monitors, watched
from aiida_pacemaker.calculations.training_job import TrainingJob, writes_weights
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.errors import ConfigError, PotentialFileError
from aiida_pacemaker.pace.config.rendering import InitialPotential, render_input
from aiida_pacemaker.pace.config.short_range import initial_potential, use_baseline
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.output.potentials import strip_fit_cycles

#: Driver that a monitor of the loss has the engine call, and how the engine finds it: it is beside the job.
STOP_DRIVER, STOP_CALLBACK = 'stop_request.py', 'stop_request.stop'
SEARCH_PATH = 'export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"'


def input_of(inputs: Any, files: list[str], test_files: list[str]) -> str:
    """Return the input of the engine for the inputs of a job and the names of the files of its datasets.

    :raises ConfigError: if the inputs contradict each other.
    """
    baseline = DeltaBaseline.model_validate(inputs['baseline'].get_dict())
    names = list(initial_files(inputs))
    initial = InitialPotential(names[0], mode_of(inputs), tuple(names[1:])) if names else None
    return render_input(
        parse_config(inputs['config'].get_dict()),
        data_files=files,
        test_files=test_files,
        reference_energy=inputs['reference_energies'].get_dict(),
        initial=initial,
        max_epochs=inputs['max_epochs'].value if 'max_epochs' in inputs else None,
        baseline=baseline,
        keep_core=keeps_core(inputs),
        callbacks=[STOP_CALLBACK] if watched(inputs.get('monitors', {})) else [],
    )


def initial_files(inputs: Any) -> dict[str, PacePotentialData]:
    """Return the potentials to start from by the names of their files."""
    names = {name: name.rpartition('.')[2] for name in initial_potentials(inputs)}
    files = {name: f'initial_potential_{label}.yaml' for name, label in names.items()}
    files['potential'] = PaceTrainCalculation.INITIAL
    return {files[name]: potential for name, potential in initial_potentials(inputs).items()}


def initial_content(potential: PacePotentialData, inputs: Any) -> bytes:
    """Return a potential to start from as the engine is to read it.

    :raises PotentialFileError: if it cannot be started from.
    """
    # The engine takes a potential that says it has been fitted as finished, and does nothing.
    content = strip_fit_cycles(potential.get_b_basis().decode())
    sections = parse_config(inputs['config'].get_dict()).sections()
    baseline = DeltaBaseline.model_validate(inputs['baseline'].get_dict())
    use_baseline(sections, baseline, keep_core=keeps_core(inputs))
    return initial_potential(content, baseline, sections['fit'].get('repulsion')).encode()


class PaceTrainCalculation(TrainingJob):
    """Fit an ACE potential to a dataset with `pacemaker`.

    The baseline is subtracted from the labels on the way to the engine, and the potential that comes back carries it.
    With a code for `pace_yaml2yace` the same job also makes the C-tilde potential for LAMMPS.
    """

    INPUT: ClassVar[str] = 'input.yaml'
    LOG: ClassVar[str] = 'log.txt'
    YACE_STDOUT: ClassVar[str] = 'yaml2yace_stdout.txt'
    YACE_STDERR: ClassVar[str] = 'yaml2yace_stderr.txt'
    #: What the engine fitted, with the structures that it dropped gone: read by the active-set job where it is.
    FITTING_DATA: ClassVar[str] = 'fitting_data_info.pckl.gzip'
    #: Folder with the plots, of the type that the config asks for.
    REPORT: ClassVar[str] = 'report'
    PREDICTIONS: ClassVar[dict[str, str]] = {'train': 'train_pred.pckl.gzip', 'test': 'test_pred.pckl.gzip'}
    EVALUATORS = ('pyace', 'tensorpot')

    PROGRAM = 'pacemaker'
    PARSER = 'pacemaker.train'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input('potential', valid_type=PacePotentialData, required=False, help='The potential to start from.')
        spec.input_namespace(
            'initial_potentials',
            valid_type=PacePotentialData,
            dynamic=True,
            required=False,
            help='Several potentials of different elements to start from, in place of `potential`: they keep their '
            'functions and coefficients and are extended to what the config describes.',
        )
        spec.input(
            'potential_mode',
            valid_type=orm.Str,
            serializer=to_aiida_type,
            required=False,
            help='What is done with the potential to start from: `continue` (the default: go on with its functions and '
            'coefficients), `reset` (keep its functions only) or `extend` (grow it to what the config describes, which '
            'may have more elements; the default for `initial_potentials`).',
        )
        spec.input(
            'max_epochs',
            valid_type=orm.Int,
            serializer=to_aiida_type,
            required=False,
            validator=lambda node, _: None if node is None or node.value > 0 else '`max_epochs` has to be positive',
            help='Number of iterations of the optimiser, in place of that of the config.',
        )
        spec.input(
            'yace_code',
            valid_type=orm.AbstractCode,
            required=False,
            help='Code of `pace_yaml2yace`, run in the same job; without it there is no `.yace`.',
        )
        monitors: Any = spec.inputs['monitors']
        monitors.validator = all_of(monitors.validator, validate_monitors)

        spec.output(
            'interim_potential',
            valid_type=PacePotentialData,
            required=False,
            help='Where the fit was when it was stopped; the potential to continue from.',
        )
        spec.output(
            'metrics',
            valid_type=orm.Dict,
            required=False,
            help='The errors at the end (`TrainingMetrics`) by the `evaluator` of the fit, on its `n_fitted` frames; '
            '`stop_reason`, `engine_version`, `warnings` in words, and `fitted_labels`: energies and forces. Stress is '
            'carried, checked and reported, but never fitted by the engine.',
        )
        spec.output(
            'stop_reason',
            valid_type=orm.Str,
            required=False,
            help='Why the fit has ended: `converged` (the optimiser finds nothing better), `early_stop` (the loss fell '
            'too slowly for what the config asks), `plateau` (the same, by the monitor `pacemaker.loss`), `maxiter` '
            '(all iterations are done), `walltime` (the scheduler stopped it), `diverged` (the loss is not finite or '
            'explodes) or `interrupted` (anything else has stopped it). There where `metrics` is.',
        )
        spec.output('report', valid_type=orm.FolderData, required=False, help='The plots of the engine.')

        spec.exit_code(
            310,
            'ERROR_FRAMES_DROPPED',
            invalidates_cache=True,
            message='{given} frames were given but the engine fitted {fitted}: frames without neighbours inside the '
            'cutoff are dropped by it. Remove them (merge with `cutoff` to find them) or use a larger cutoff.',
        )
        spec.exit_code(
            410,
            'ERROR_FIT_INTERRUPTED',
            invalidates_cache=True,
            message='The fit was stopped from outside after {iterations} iterations. Continue from the output '
            '`interim_potential` (or `potential`, if only the conversion was stopped), or start again where there is '
            'none; `PaceTrainBaseWorkChain` does it by itself.',
        )
        spec.exit_code(
            411,
            'ERROR_FIT_DIVERGED',
            invalidates_cache=True,
            message='The fit has diverged: {problem}. Look for extreme energies, forces and short distances in the '
            'dataset, and use a stronger regularisation (`fit.loss.L2_coeffs`) or smaller noise between fit cycles; '
            '`PaceTrainBaseWorkChain` tries the former by itself.',
        )
        spec.exit_code(
            510,
            'ERROR_CTILDE_MISSING',
            invalidates_cache=True,
            message='The potential was fitted but `pace_yaml2yace` made no `.yace` that can be used: {reason}. The '
            'output `potential` is there without it: write it to a file and run `pace_yaml2yace` on that.',
        )

    @staticmethod
    def validate_input(inputs: Any, _: Any) -> str | None:
        """Check that the input of the engine can be written."""
        # A work chain that wraps the job may provide some of these itself.
        if any(name not in inputs for name in ('dataset', 'config', 'baseline', 'reference_energies')):
            return None
        try:
            input_of(inputs, ['train.pckl.gzip'], ['test.pckl.gzip'] if 'test_dataset' in inputs else [])
            for potential in initial_potentials(inputs).values():
                initial_content(potential, inputs)
        except ConfigError as exception:
            return str(exception)
        except PotentialFileError as exception:
            return f'the potential to start from: {exception}'
        return None

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the inputs of the engine."""
        baseline = DeltaBaseline.model_validate(self.inputs.baseline.get_dict())
        predict = self.inputs.predict.value

        codes = [self.code_info(self.inputs.code, [self.INPUT] if predict else [self.INPUT, '--no-predict'])]
        info = self.calc_info(
            codes,
            retrieve=[
                self.STDOUT,
                self.STDERR,
                self.LOG,
                *self.METRICS.values(),
                'cycle_metrics.txt',
                'ladder_metrics.txt',
                self.POTENTIAL,
                'interim_potential_*.yaml',
            ],
        )
        if watched(self.inputs.get('monitors', {})):
            self.insert_drivers(folder, STOP_DRIVER)
            info.prepend_text = f'{info.prepend_text}\n{SEARCH_PATH}'
        if 'yace_code' in self.inputs:
            convert = self.code_info(self.inputs.yace_code, [self.POTENTIAL, '-o', self.C_TILDE])
            convert.stdout_name, convert.stderr_name = self.YACE_STDOUT, self.YACE_STDERR
            codes.append(convert)
            info.codes_run_mode = CodeRunMode.SERIAL
            info.retrieve_list += [self.C_TILDE, self.YACE_STDOUT, self.YACE_STDERR]
        if predict:
            info.retrieve_list += [(f'{self.REPORT}/*', '.', 2), ('*.png', '.', 1)]
            info.retrieve_temporary_list = list(self.PREDICTIONS.values())

        with self.stage(folder, info) as staging:
            for name, potential in initial_files(self.inputs).items():
                staging.content(initial_content(potential, self.inputs), name)
            weights = writes_weights(self.inputs)
            files = staging.training(self.inputs.dataset, baseline, weights=weights)
            test_files = []
            if 'test_dataset' in self.inputs:
                test_files = staging.training(self.inputs.test_dataset, baseline, weights=weights)
            staging.keep(self.POTENTIAL)
        rendered = input_of(self.inputs, files, test_files)
        folder.create_file_from_filelike(io.BytesIO(rendered.encode()), self.INPUT, 'wb')
        return info

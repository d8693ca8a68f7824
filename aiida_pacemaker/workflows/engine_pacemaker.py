"""Pacemaker as an engine of the loop: its processes, its config, its potentials, and what it checks beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida import orm
from pydantic import BaseModel

from aiida_pacemaker.baseline.model import DeltaBaseline, Mode
from aiida_pacemaker.calculations.activeset import data_of_training
from aiida_pacemaker.calculations.checks.inputs import on_one_computer, options_of
from aiida_pacemaker.calculations.checks.training import check_active_set, check_training
from aiida_pacemaker.calculations.functions.potentials import baseline_of, reference_energies_of
from aiida_pacemaker.calculations.functions.references import pin_energy_reference
from aiida_pacemaker.calculations.posteriors import validate_posterior
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.pace.config.linear import follows_lowest_energy
from aiida_pacemaker.pace.config.options import ActiveSetOptions, SelectOptions
from aiida_pacemaker.pace.config.trainer_config import TrainerConfig, parse_config
from aiida_pacemaker.workflows.engines import Engine, Step
from aiida_pacemaker.workflows.loop.settings import LoopSettings

#: Namespace of the job among the inputs of each restart chain.
JOB = 'pace'


class PacemakerEngine(Engine):
    """Pacemaker (python-ace), each job in its restart chain."""

    steps: ClassVar[Mapping[str, Step]] = {
        'train': Step(
            'pacemaker.train.base',
            JOB,
            hidden=('clean_workdir', 'pace.potential_mode', 'pace.initial_potentials'),
        ),
        'activeset': Step('pacemaker.activeset.base', JOB, hidden=('clean_workdir',)),
        'evaluate': Step('pacemaker.evaluate.base', JOB, hidden=('clean_workdir', 'pace.error_bars')),
        'select': Step(
            'pacemaker.select.base', JOB, without=('max_structures',), hidden=('clean_workdir', 'pace.python')
        ),
    }
    potential_type = PacePotentialData
    active_set_type = PaceActiveSetData
    baseline_of = staticmethod(baseline_of)
    reference_energies_of = staticmethod(reference_energies_of)
    pin_config = staticmethod(pin_energy_reference)
    codes: ClassVar[Mapping[str, bool]] = {
        'pacemaker': True,
        'pace_activeset': True,
        'pace_select': True,
        'python': True,
        'pace_yaml2yace': False,
    }
    protocol_file = 'aiida_pacemaker.workflows.protocol_files:active_learning.yaml'
    protocol_models: ClassVar[Mapping[str, type[BaseModel]]] = {
        'config': TrainerConfig,
        'settings': LoopSettings,
        'activeset': ActiveSetOptions,
        'select': SelectOptions,
    }

    def parse_config(self, content: Mapping[str, Any]) -> TrainerConfig:
        """Return the config of a training."""
        return parse_config(content)

    def adapt(self, step: str, provided: dict[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the loop provides for a step as its job takes it."""
        if step == 'train' and self._fits_linearly(inputs):
            # Solved for anew, at once.
            return {name: node for name, node in provided.items() if name not in ('potential', 'max_epochs')}
        if step == 'evaluate':
            return self._evaluation(provided)
        if step == 'activeset':
            return self._active_set(provided, inputs)
        return self._selection(provided, inputs) if step == 'select' else provided

    def _fits_linearly(self, inputs: Mapping[str, Any]) -> bool:
        job = self.place_in(inputs, 'train')
        return 'config' in job and parse_config(job['config'].get_dict()).used_evaluator == 'linear'

    @staticmethod
    def _evaluation(provided: dict[str, Any]) -> dict[str, Any]:
        """Ask for calibrated error bars, but not of what was fitted: nothing follows from those."""
        posterior, others = provided.pop('posterior', None), sorted(set(provided['datasets']) - {'train'})
        # Without calibration the fit has warned.
        if posterior is None or not others or validate_posterior(posterior, None) is not None:
            return provided
        return {**provided, 'posterior': posterior, 'error_bars': orm.List(others)}

    def _active_set(self, provided: dict[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Take the data of the training where they are, if possible."""
        dataset, folder = provided.pop('dataset'), provided.pop('parent_folder', None)
        if folder is None:
            return {**provided, 'dataset': dataset}
        return {**provided, **data_of_training(folder, dataset, self.place_in(inputs, 'activeset')['code'])}

    def _selection(self, provided: dict[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Put the number of structures into the options, and have the candidates taken from what is there already."""
        job = self.place_in(inputs, 'select')
        python = self.place_in(inputs, 'evaluate')['code']
        left, options = provided.pop('max_structures').value, options_of(SelectOptions, job)
        options = options.model_copy(update={'max_structures': min(left, options.max_structures or left)})
        if options.method == 'maxvol':
            provided.pop('posterior', None)
            if on_one_computer(python, job['code'].computer):
                provided['python'] = python
            content = options.model_dump(mode='json', exclude_none=True, exclude={'method'})
        else:
            content = options.model_dump(mode='json', exclude_unset=True)
        return {**provided, 'options': orm.Dict(content)}

    def check_inputs(self, inputs: Mapping[str, Any]) -> str | None:
        """Return why the first training, or the active set of its potential, would be refused."""
        known = self._first_training(inputs)
        if problem := self._check_kind_of_fit(inputs):
            return problem
        if 'baseline' not in known and 'config' in known:
            # That of the potential that is continued, or one with a repulsion, whatever the data are.
            elements = parse_config(known['config'].get_dict()).elements
            try:
                baseline = (
                    inputs['potential'].baseline
                    if 'potential' in inputs
                    else DeltaBaseline.for_elements(elements, mode=self.baseline_mode(inputs))
                )
            except ValueError as exception:
                return f'there is no default `baseline`: {exception}'
            assumed = {'config': known['config'], 'baseline': orm.Dict(baseline.model_dump(mode='json'))}
            if 'potential' in known:
                assumed['potential'] = known['potential']
            if problem := check_training(assumed):
                return f'the training would be refused: {problem}'
        if problem := check_training(known):
            return f'the training would be refused: {problem}'
        if problem := check_active_set(known):
            return f'the active set would be refused: {problem}'
        return None

    def _check_kind_of_fit(self, inputs: Mapping[str, Any]) -> str | None:
        """Return what the inputs ask for that the fits of the loop do not have."""
        linear, names = self._fits_linearly(inputs), _iterations_in(inputs)
        if linear and names:
            return (
                f'settings: {", ".join(names)} would be the iterations of an exact linear fit, which has none: leave '
                'it out, or set evaluator: pyace (or tensorpot) in the config for fits by iterations'
            )
        if not linear and _selects_by_posterior(self.place_in(inputs, 'select')):
            return (
                'select: the method posterior needs the posterior of an exact linear fit, which other evaluators do '
                'not have: set `evaluator: linear` in the config, or `method: maxvol` in the options of `select`'
            )
        if not linear and _settings_in(inputs).get('target_sigma_forces') is not None:
            return (
                'settings: target_sigma_forces needs the error bars of exact linear fits, which other evaluators do '
                'not have: set `evaluator: linear` in the config, or leave it out'
            )
        return None

    def _first_training(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is known of the first training."""
        job = self.place_in(inputs, 'train')
        known = {name: job[name] for name in ('code', 'config', 'metadata') if name in job}
        names = ('dataset', 'test_dataset', 'potential', 'baseline', 'reference_energies')
        known |= {name: inputs[name] for name in names if name in inputs}
        if self._fits_linearly(inputs):
            known.pop('potential', None)
        if inputs.get('initial'):
            # What is merged into the dataset may bring what it lacks.
            known.pop('dataset', None)
        return known

    def baseline_mode(self, inputs: Mapping[str, Any]) -> Mode:
        """Return the mode of the baseline where none is given: exact linear fits place the ZBL repulsion themselves."""
        return 'core' if self._fits_linearly(inputs) else 'delta'

    def leaves_open(self, inputs: Mapping[str, Any]) -> bool:
        """Return whether weights by energy are relative to the lowest energy of each dataset."""
        if not self._fits_linearly(inputs):
            return False
        return follows_lowest_energy(parse_config(self.place_in(inputs, 'train')['config'].get_dict()))

    def check_active_set(self, training: Mapping[str, Any]) -> str | None:
        """Return a message if there are fewer atoms of an element than functions, else None."""
        return check_active_set(training)

    def builder_inputs(
        self,
        codes: Mapping[str, orm.AbstractCode],
        sections: Mapping[str, Any],
        elements: list[str],
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the inputs of the steps for a protocol."""
        job = {'options': dict(options)}
        config = parse_config({'elements': elements, **sections['config']})
        linear = config.used_evaluator == 'linear'
        train: dict[str, Any] = {
            'code': codes['python' if linear else 'pacemaker'],
            'config': orm.Dict(config.to_dict()),
            'metadata': job,
        }
        if 'pace_yaml2yace' in codes and not linear:
            train['yace_code'] = codes['pace_yaml2yace']
        jobs: dict[str, dict[str, Any]] = {
            'train': train,
            'activeset': {'code': codes['pace_activeset'], 'metadata': job},
            'select': {'code': codes['pace_select'], 'metadata': job},
            'evaluate': {'code': codes['python'], 'metadata': job},
        }
        chosen = {name: dict(sections[name]) for name in ('activeset', 'select')}
        if linear and not set(chosen['select']) - {'max_structures'}:
            # What is better where there is a choice: see `docs/topics/selection.md`.
            chosen['select']['method'] = 'posterior'
        for name, content in chosen.items():
            if content:
                parse_options(self.protocol_models[name], content, f'the options of {name}')
                jobs[name]['options'] = orm.Dict(content)
        if _selects_by_posterior(jobs['select']):
            jobs['select']['code'] = codes['python']
        return {name: {JOB: inputs} for name, inputs in jobs.items()}


def _selects_by_posterior(job: Mapping[str, Any]) -> bool:
    """Return whether candidates are chosen by the posterior, by the inputs of the selection."""
    return options_of(SelectOptions, job).method == 'posterior'


def _iterations_in(inputs: Mapping[str, Any]) -> list[str]:
    """Return the settings of a loop that give a number of iterations."""
    settings = _settings_in(inputs)
    return [name for name in ('first_iterations', 'later_iterations') if settings.get(name) is not None]


def _settings_in(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return inputs['settings'].get_dict() if 'settings' in inputs else {}

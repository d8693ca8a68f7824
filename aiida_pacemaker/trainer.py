"""The facade for scripts: train and select with two methods, each call a process with provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiida import orm
from aiida.engine import run_get_node, submit

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.activeset import data_of_training
from aiida_pacemaker.calculations.base import RESOURCES
from aiida_pacemaker.calculations.functions.potentials import baseline_of, reference_energies_of
from aiida_pacemaker.calculations.functions.references import default_baseline, fit_reference_energies
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.errors import TrainerError
from aiida_pacemaker.pace.config.options import SelectOptions
from aiida_pacemaker.pace.config.trainer_config import TrainerConfig, parse_config
from aiida_pacemaker.sources.given import code_of
from aiida_pacemaker.workflows.base.activeset import PaceActiveSetBaseWorkChain
from aiida_pacemaker.workflows.base.select import PaceSelectBaseWorkChain
from aiida_pacemaker.workflows.base.train import PaceTrainBaseWorkChain


@dataclass(frozen=True)
class PacemakerTrainer:
    """Training and selection with Pacemaker, each run to its end before the method returns.

    :param config: what to fit and how, as a `TrainerConfig` or its keys; its `active_set_size` is the largest number of
        structures selected at once.
    :param codes: the codes `pacemaker`, `pace_activeset` and `pace_select`, or their labels, as in
        `{'pacemaker': 'pacemaker@localhost', ...}`; with `pace_yaml2yace` each potential also has a `.yace`. Exact
        linear fits (the evaluator `linear`) need `python`, the Python of the engine, in place of `pacemaker`, and have
        a `.yace` always.
    :param baseline: the baseline of potentials that begin from nothing; ZBL for the elements of the dataset by default.
        A potential that continues another keeps its baseline.
    :param reference_energies: atomic reference energies (E0) in eV, likewise; fitted to the dataset by default.
    :param options: options of all jobs.
    """

    config: TrainerConfig | Mapping[str, Any]
    codes: Mapping[str, orm.AbstractCode | str]
    baseline: DeltaBaseline | None = None
    reference_energies: Mapping[str, float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the config and load the codes: what cannot be used is told where it is given, not when it is needed.

        :raises ConfigError: if the config is not valid.
        :raises ValueError: if a code is not there.
        """
        object.__setattr__(self, 'config', self._config)
        object.__setattr__(self, 'codes', {name: code_of(code) for name, code in self.codes.items()})

    def train(
        self, dataset: PaceDatasetData, initial_potential: PacePotentialData | None = None
    ) -> tuple[PacePotentialData, dict[str, Any]]:
        """Fit a potential to a dataset and return it with the errors of the fit (`TrainingMetrics`).

        :param initial_potential: the potential to continue from. An exact linear fit takes baseline and reference
            energies of it, and solves for all coefficients anew.
        :raises TrainerError: if the fit fails.
        """
        outputs = _run(PaceTrainBaseWorkChain, self._training(dataset, initial_potential))
        return outputs['potential'], outputs['metrics'].get_dict()

    def submit_train(
        self, dataset: PaceDatasetData, initial_potential: PacePotentialData | None = None
    ) -> orm.WorkChainNode:
        """Hand the same training to the daemon and return its node at once."""
        return submit(PaceTrainBaseWorkChain, **self._training(dataset, initial_potential))

    def select_active_set(
        self,
        candidates: Sequence[PaceDatasetData],
        potential: PacePotentialData,
        dataset: PaceDatasetData | None = None,
    ) -> PaceDatasetData | None:
        """Return the candidates that enlarge the active set of a potential most (D-optimality, MaxVol).

        :param candidates: sets of structures, labelled or not.
        :param potential: the potential that they are to improve.
        :param dataset: labelled frames to build the active set from, as for :meth:`active_set`.
        :raises TrainerError: if a job fails, or if the data of the potential are not known.
        """
        options = SelectOptions(max_structures=self._config.active_set_size)
        pace = {
            'code': self._code('pace_select'),
            'potential': potential,
            'active_set': self.active_set(potential, dataset),
            'candidates': {f'candidates_{index:02d}': each for index, each in enumerate(candidates)},
            'options': orm.Dict(options.model_dump(mode='json', exclude_none=True)),
            'metadata': self._metadata,
        }
        return _run(PaceSelectBaseWorkChain, {'pace': pace}).get('selected')

    def active_set(self, potential: PacePotentialData, dataset: PaceDatasetData | None = None) -> PaceActiveSetData:
        """Return the active set of a potential.

        Without a dataset it is built from what the training left on the computer or, if that has been cleaned or is
        elsewhere, from the dataset of the training.

        :param potential: the potential.
        :param dataset: labelled frames to build it from instead; needed for a potential that no training in this
            profile has made, such as an imported one.
        :raises TrainerError: if the job fails, or if the data of the potential are not known.
        """
        code = self._code('pace_activeset')
        data = _data_of(potential, code) if dataset is None else {'dataset': dataset}
        pace = {'code': code, 'potential': potential, 'metadata': self._metadata, **data}
        return _run(PaceActiveSetBaseWorkChain, {'pace': pace})['active_set']

    @property
    def _config(self) -> TrainerConfig:
        return self.config if isinstance(self.config, TrainerConfig) else parse_config(self.config)

    def _code(self, name: str) -> orm.AbstractCode:
        if name not in self.codes:
            raise TrainerError(f'the trainer has no code `{name}`: `codes` has {", ".join(self.codes) or "none"}')
        return code_of(self.codes[name])

    @property
    def _metadata(self) -> dict[str, Any]:
        return {'options': {'resources': RESOURCES, **self.options}}

    def _training(self, dataset: PaceDatasetData, initial: PacePotentialData | None) -> dict[str, Any]:
        """Return the inputs of a training."""
        linear = self._config.used_evaluator == 'linear'
        if linear and 'python' not in self.codes:
            raise TrainerError(
                'an exact linear fit is run by the Python of the engine: give its code as `python` (as in `python: '
                'pace_python@localhost`), or set another evaluator than `linear`'
            )
        pace: dict[str, Any] = {
            'code': self._code('python' if linear else 'pacemaker'),
            'config': orm.Dict(self._config.to_dict()),
            'dataset': dataset,
            'metadata': self._metadata,
        }
        if 'pace_yaml2yace' in self.codes and not linear:
            pace['yace_code'] = self._code('pace_yaml2yace')
        if initial is not None:
            references = {'baseline': baseline_of(initial), 'reference_energies': reference_energies_of(initial)}
            return {'pace': {**pace, **references, **({} if linear else {'potential': initial})}}
        if self.baseline is None:
            mode = orm.Str('core' if linear else 'delta')
            pace['baseline'] = _run(default_baseline, {'dataset': dataset, 'lj': orm.Bool(False), 'mode': mode})
        else:
            pace['baseline'] = orm.Dict(self.baseline.model_dump(mode='json'))
        if self.reference_energies is None:
            pace['reference_energies'] = fit_reference_energies(dataset, pace['baseline'])
        else:
            pace['reference_energies'] = orm.Dict(dict(self.reference_energies))
        return {'pace': pace}


def _data_of(potential: PacePotentialData, code: orm.AbstractCode) -> dict[str, Any]:
    """Return the data that a potential was fitted to, as an input of the active set.

    :raises TrainerError: if its training is not in this profile.
    """
    training = potential.creator
    if not isinstance(training, orm.CalcJobNode) or 'dataset' not in training.inputs:
        raise TrainerError(
            f'{potential} was not trained in this profile, so its data are not known. Give those that it was fitted to '
            '(or that it is to be compared with) as `dataset`, as in '
            '`select_active_set(candidates, potential, dataset=dataset)`'
        )
    return dict(data_of_training(training.outputs.remote_folder, training.inputs.dataset, code))


def _run(process: Any, inputs: dict[str, Any]) -> Any:
    """Run a process and return its outputs.

    :raises TrainerError: if it fails.
    """
    outputs, node = run_get_node(process, **inputs)
    if not node.is_finished_ok:
        raise TrainerError(f'{node.process_label}<{node.pk}> failed with [{node.exit_status}] {node.exit_message}')
    return outputs

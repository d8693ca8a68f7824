"""Finished jobs that are made by hand from recorded outputs, and what the parsers make of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common import LinkType
from aiida.engine import ExitCode
from aiida.orm.nodes.caching import NodeCaching
from aiida.plugins import CalculationFactory, ParserFactory
from recorded_cases import FIXTURES

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData

# So that a failure shows what was compared.
pytest.register_assert_rewrite('damages')

#: Files that come back for parsing only.
TEMPORARY = {
    *('selected.pkl.gz', 'selection.npz', 'train_pred.pckl.gzip', 'test_pred.pckl.gzip'),
    *('posterior.npz', 'frame_errors.npz', 'train_predictions.npz', 'test_predictions.npz'),
}


@dataclass(frozen=True)
class Parsed:
    """What a parser made of a job.

    :param node: the job.
    :param outputs: the outputs by label.
    :param code: the exit code.
    :param label: its label in the specification of the job, or OK.
    :param log: what the parser warned of.
    """

    node: orm.CalcJobNode
    outputs: dict[str, Any]
    code: ExitCode
    label: str
    log: str


Files = Mapping[str, bytes | str]


@pytest.fixture
def parse(aiida_profile, aiida_localhost, tmp_path, monkeypatch) -> Callable[..., Parsed]:
    """Return a function that parses the files of a finished job."""
    # Hashes for the cache, which nothing here asks for, take half of the time of storing.
    monkeypatch.setattr(NodeCaching, 'rehash', lambda self: None)

    def run(entry_point: str, files: Files, inputs: Mapping[str, Any], verdict: ExitCode | None = None) -> Parsed:
        process = CalculationFactory(entry_point)
        node = orm.CalcJobNode(computer=aiida_localhost, process_type=process.build_process_type())
        node.set_option('resources', {'num_machines': 1})
        node.set_option('scheduler_stderr', '_scheduler-stderr.txt')
        for name, value in inputs.items():
            value.store()
            node.base.links.add_incoming(value, LinkType.INPUT_CALC, link_label=name)
        node.store()
        if verdict is not None:
            node.set_exit_status(verdict.status)
            node.set_exit_message(verdict.message)

        retrieved = orm.FolderData()
        temporary = tmp_path / 'temporary'
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, given in {'exit_status': '0\n', **files}.items():
            content = given.encode() if isinstance(given, str) else given
            if name in TEMPORARY or name.startswith(('evaluation_', 'run_')):
                (temporary / name).write_bytes(content)
            else:
                retrieved.base.repository.put_object_from_bytes(content, name)
        retrieved.base.links.add_incoming(node, LinkType.CREATE, link_label='retrieved')
        retrieved.store()

        parser = ParserFactory(entry_point)(node)
        code = parser.parse(retrieved_temporary_folder=str(temporary))
        outputs: dict[str, Any] = {}
        for name, output in parser.outputs.items():
            # What cannot be stored would stop the job with an exception.
            output.store()
            namespace, _, label = name.rpartition('.')
            (outputs.setdefault(namespace, {}) if namespace else outputs)[label] = output
        labels = {exit_code.status: label for label, exit_code in process.exit_codes.items()}
        log = '\n'.join(entry.message for entry in orm.Log.collection.get_logs_for(node))
        return Parsed(node, outputs, code, labels[code.status] if code.status else 'OK', log)

    return run


@pytest.fixture
def baseline() -> DeltaBaseline:
    """Return a baseline that reaches far, so that nothing of it can go unnoticed."""
    return DeltaBaseline.for_elements(['Mg', 'O'], lj=True)


@pytest.fixture
def potential(aiida_profile, baseline, reference_energies) -> PacePotentialData:
    """Return the potential of the recorded fit."""
    content = (FIXTURES / 'train/default/output_potential.yaml').read_bytes()
    return PacePotentialData(content, baseline=baseline, reference_energies=reference_energies)


@pytest.fixture
def active_set(aiida_profile) -> PaceActiveSetData:
    return PaceActiveSetData((FIXTURES / 'activeset/linear/output_potential.asi').read_bytes())


@pytest.fixture
def small_dataset(aiida_profile, mgo_frames) -> PaceDatasetData:
    """Return three frames."""
    return PaceDatasetData(mgo_frames.select([0, 1, 2]))


@pytest.fixture(scope='session')
def stored() -> dict[str, orm.Data]:
    """Return where nodes are kept that many tests have for inputs."""
    return {}


@pytest.fixture
def train_inputs(aiida_profile, stored, baseline, reference_energies) -> Callable[..., dict[str, Any]]:
    """Return a function that makes the inputs of a training, with changes to its config."""
    config = {'elements': ['Mg', 'O'], 'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2}
    if not stored:
        stored |= {
            'config': orm.Dict(config),
            'baseline': orm.Dict(baseline.model_dump(mode='json')),
            'reference_energies': orm.Dict(reference_energies),
            'predict': orm.Bool(False),
        }

    def make(changes: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        return {**stored, **({'config': orm.Dict({**config, **changes})} if changes else {}), **more}

    return make


@pytest.fixture
def parse_train(parse, train_inputs) -> Callable[..., Parsed]:
    """Return a function that parses the files of a training."""

    def run(files: Files, *, config: Any = None, verdict: ExitCode | None = None, **more: Any) -> Parsed:
        return parse('pacemaker.train', files, train_inputs(config, **more), verdict)

    return run


@pytest.fixture
def fitted_frames(aiida_profile, mgo_frames, mgo_images) -> dict[str, PaceDatasetData]:
    """Return the datasets of the recorded linear fits."""
    narrow = np.array(['rattle0.04' in image.info['label'] for image in mgo_images])
    others = np.flatnonzero(~narrow)[::8]
    return {
        'dataset': PaceDatasetData(mgo_frames.select(np.flatnonzero(narrow))),
        'test_dataset': PaceDatasetData(mgo_frames.select(others)),
    }


@pytest.fixture
def parse_linear(parse, train_inputs, fitted_frames) -> Callable[..., Parsed]:
    """Return a function that parses the files of a linear fit."""

    def run(files: Files, *, verdict: ExitCode | None = None, **more: Any) -> Parsed:
        inputs = train_inputs({'evaluator': 'linear'}, **{**fitted_frames, **more})
        return parse('pacemaker.train.linear', files, inputs, verdict)

    return run


@pytest.fixture
def parse_active_set(parse, potential) -> Callable[..., Parsed]:
    """Return a function that parses the files of an active-set job."""

    def run(files: Files, *, kind: str = 'linear', verdict: ExitCode | None = None) -> Parsed:
        inputs = {'potential': potential.clone(), 'options': orm.Dict({'kind': kind})}
        return parse('pacemaker.activeset', files, inputs, verdict)

    return run


@pytest.fixture
def parse_selection(parse, potential, mgo_frames, mgo_images) -> Callable[..., Parsed]:
    """Return a function that parses the files of a selection from the frames of the recorded pool."""
    pool = mgo_frames.select(['rattle0.04' not in image.info['label'] for image in mgo_images])

    def run(files: Files, *, verdict: ExitCode | None = None) -> Parsed:
        inputs = {'potential': potential.clone(), 'candidates__pool': PaceDatasetData(pool)}
        return parse('pacemaker.select', files, inputs, verdict)

    return run

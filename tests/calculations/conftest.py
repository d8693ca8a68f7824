"""Small datasets and fits for the tests of the calculations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory
from small_fits import SMALL

from aiida_pacemaker.baseline.model import DeltaBaseline, LJBaseline, ZBLBaseline
from aiida_pacemaker.calculations import base
from aiida_pacemaker.calculations.cache import Cache
from aiida_pacemaker.calculations.staging import LIST, SCRIPT
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData

FIXTURES = Path(__file__).parents[1] / 'fixtures'


@dataclass(frozen=True)
class Prepared:
    """A job that was prepared but not submitted.

    :param info: its plan.
    :param files: the files that it wrote, by name, but for those by which all files are put in place.
    :param staged: what is done for each file that the computer may have already: `sent`, `held` or `from`.
    """

    info: Any
    files: dict[str, bytes]
    staged: dict[str, str]

    @property
    def kept(self) -> dict[str, bytes]:
        """The files that go into the provenance."""
        return {name: content for name, content in self.files.items() if name not in self.info.provenance_exclude_list}

    @property
    def commands(self) -> list[list[str]]:
        return [code.cmdline_params for code in self.info.codes_info]


class Known(dict):
    """What is known of files whose checksums are their names."""

    def __init__(self, names):
        super().__init__({name: name for name in names})

    def note(self, sums):
        self.update(sums)


@pytest.fixture
def prepare(aiida_profile, monkeypatch) -> Callable[..., Prepared]:
    """Return a function that prepares a job for submission to a computer that has the given files in its cache."""

    def run(entry_point: str, inputs: Mapping[str, Any], *held: str) -> Prepared:
        monkeypatch.setattr(base, 'cache_of', lambda process: Cache(names=frozenset(held), checksums=Known(held)))
        process = instantiate_process(get_manager().get_runner(), CalculationFactory(entry_point), **inputs)
        with SandboxFolder() as folder:
            info = process.prepare_for_submission(folder)
            paths = [path for path in Path(folder.abspath).rglob('*') if path.is_file()]
            files = {path.relative_to(folder.abspath).as_posix(): path.read_bytes() for path in paths}
            lines = [line.split() for line in files.pop(LIST, b'').decode().splitlines()[1:]]
            files.pop(SCRIPT, None)
            return Prepared(info, files, {file: what for what, _, file, *_ in lines})

    return run


@pytest.fixture
def rattled(mgo_frames, mgo_images):
    """Return the twelve frames of eight atoms with small displacements."""
    return mgo_frames.select(['rattle0.04' in image.info['label'] for image in mgo_images])


@pytest.fixture
def others(mgo_frames, mgo_images):
    return mgo_frames.select(['rattle0.04' not in image.info['label'] for image in mgo_images])


@pytest.fixture
def dataset(aiida_profile, rattled) -> PaceDatasetData:
    return PaceDatasetData(rattled).store()


@pytest.fixture
def test_dataset(aiida_profile, others) -> PaceDatasetData:
    return PaceDatasetData(others.select([0, 20, 40])).store()


@pytest.fixture
def lj_baseline() -> DeltaBaseline:
    """Return a baseline that reaches far and repels everywhere, so that nothing of it can go unnoticed."""
    pairs = DeltaBaseline.for_elements(['Mg', 'O'], lj=True).lj.pairs
    whole = tuple(pair.model_copy(update={'off': None, 'on': None}) for pair in pairs)
    return DeltaBaseline(zbl=ZBLBaseline(inner=0.462, outer=0.924), lj=LJBaseline(pairs=whole))


@pytest.fixture
def train_inputs(dataset, lj_baseline, reference_energies) -> Callable[..., dict[str, Any]]:
    """Return a function that makes the inputs of a small fit, with changes; None takes an input out."""

    def make(**changes: Any) -> dict[str, Any]:
        config = {**SMALL, 'max_epochs': 3}
        inputs = {
            'dataset': dataset,
            'config': config | changes.pop('config', {}),
            'baseline': lj_baseline.model_dump(mode='json'),
            'reference_energies': reference_energies,
        }
        return {name: value for name, value in {**inputs, **changes}.items() if value is not None}

    return make


@pytest.fixture
def recorded_potential(aiida_profile, lj_baseline, reference_energies) -> PacePotentialData:
    """Return a potential that a recorded run has fitted."""
    content = (FIXTURES / 'train/default/output_potential.yaml').read_bytes()
    return PacePotentialData(content, baseline=lj_baseline, reference_energies=reference_energies).store()


@pytest.fixture
def recorded_active_set(aiida_profile) -> PaceActiveSetData:
    return PaceActiveSetData((FIXTURES / 'activeset/linear/output_potential.asi').read_bytes()).store()


@pytest.fixture(scope='session')
def once() -> Callable[[str, Callable[[], Any]], Any]:
    """Return a function that calls another one the first time that it is asked under a name.

    Tests that empty the profile, or open its storage anew, take the nodes of others away: then it is called again.
    """
    results: dict[str, Any] = {}
    witness: list[Any] = []

    def get(name: str, make: Callable[[], Any]) -> Any:
        storage = get_manager().get_profile_storage()
        if not (witness and witness[0] is storage and orm.QueryBuilder().append(orm.Int, filters=witness[1]).count()):
            results.clear()
            witness[:] = [storage, {'uuid': orm.Int(1).store().uuid}]
        if name not in results:
            results[name] = make()
        return results[name]

    return get


def run(entry_point: str, **inputs: Any) -> orm.CalcJobNode:
    return run_get_node(CalculationFactory(entry_point), **inputs).node


@pytest.fixture
def run_job(aiida_profile) -> Callable[..., orm.CalcJobNode]:
    """Return a function that runs a job to its end."""
    return run


@pytest.fixture
def pace_codes(once, pace_codes) -> dict[str, orm.InstalledCode]:
    """Return codes that are the same in all tests: what one job has left is linked by another on its computer only."""
    return once('codes', lambda: pace_codes)


@pytest.fixture
def trained(once, pace_codes, train_inputs, test_dataset) -> orm.CalcJobNode:
    """Return a fit by the real engine, with everything that can be asked of it."""
    inputs = train_inputs(test_dataset=test_dataset, predict=True, yace_code=pace_codes['yace'])
    return once('trained', lambda: run('pacemaker.train', code=pace_codes['train'], **inputs))


@pytest.fixture
def linear_set(once, pace_codes, trained) -> orm.CalcJobNode:
    """Return the active set of that fit, from the data where the fit has left them."""
    inputs = {'potential': trained.outputs.potential, 'parent_folder': trained.outputs.remote_folder}
    return once('linear', lambda: run('pacemaker.activeset', code=pace_codes['activeset'], **inputs))

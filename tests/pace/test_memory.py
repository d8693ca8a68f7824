"""The memory that programs of the engine are predicted to need."""

import importlib.util
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_pacemaker.frames.pickles.writing import write_dataset
from aiida_pacemaker.pace.config.options import ActiveSetOptions, SelectOptions
from aiida_pacemaker.pace.config.rendering import render_input
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.cost.basis_size import count_functions
from aiida_pacemaker.pace.cost.memory import (
    REFUSAL_FACTOR,
    predict_active_set_memory,
    predict_selection_memory,
    predict_training_memory,
)
from aiida_pacemaker.pace.cost.survey import Survey, survey

CONFIG = {'elements': ['Mg', 'O'], 'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 6}
SURVEY = Survey(1000, {'Mg': 16_000, 'O': 16_000}, 2_000_000, 1.9, (), (), ())
FUNCTIONS = {'Mg': 500, 'O': 700}
DENSITIES = {'Mg': 2, 'O': 1}
POTENTIAL = Path(__file__).parents[1] / 'fixtures' / 'train' / 'default' / 'output_potential.yaml'


def training(survey=SURVEY, **over):
    return predict_training_memory(parse_config(CONFIG | over).sections(), survey)


def active_set(survey=SURVEY, n_functions=FUNCTIONS, **options):
    return predict_active_set_memory(survey, n_functions, DENSITIES, ActiveSetOptions(**options))


@given(factor=st.integers(2, 20), evaluator=st.sampled_from(['pyace', 'tensorpot']))
def test_more_structures_need_more(factor, evaluator):
    more = replace(
        SURVEY,
        n_frames=factor * SURVEY.n_frames,
        atoms={element: factor * n for element, n in SURVEY.atoms.items()},
        n_neighbours=factor * SURVEY.n_neighbours,
    )
    before, after = training(evaluator=evaluator), training(more, evaluator=evaluator)
    assert after.structures == factor * before.structures
    # A batch has as many structures as before.
    assert after.working == pytest.approx(before.working, abs=1)
    assert replace(after, structures=0, working=0) == replace(before, structures=0, working=0)
    assert active_set(more).working == factor * active_set().working


@given(max_deg=st.integers(3, 11), evaluator=st.sampled_from(['pyace', 'tensorpot']))
def test_a_larger_basis_needs_more(max_deg, evaluator):
    assert (
        training(max_deg=max_deg, evaluator=evaluator).total < training(max_deg=max_deg + 1, evaluator=evaluator).total
    )


def test_a_batch_is_what_is_computed_at_once():
    tenth, whole, larger = (
        training(evaluator='tensorpot', backend={'batch_size': size}) for size in (100, 1000, 10_000)
    )
    assert whole.working == pytest.approx(10 * tenth.working, rel=1e-6)
    assert larger == whole
    assert replace(tenth, working=0) == replace(whole, working=0)


def test_bfgs_holds_square_matrices_of_its_parameters():
    assert count_functions(parse_config(CONFIG).sections()['potential']) == {'Mg': 256, 'O': 256}
    assert training(fit={'trainable_parameters': 'func'}).optimizer == 6 * 8 * 512**2
    # Three pairs have 3 radial functions of 6 for each l up to 3.
    everything = 6 * 8 * (512 + 3 * 3 * 6 * 4) ** 2
    assert training(fit={'trainable_parameters': 'ALL'}).optimizer == everything
    assert training(fit={'trainable_parameters': {'ALL': ['func', 'radial']}}).optimizer == everything
    assert training(fit={'trainable_parameters': 'radial'}).optimizer == 6 * 8 * (3 * 3 * 6 * 4) ** 2
    assert training(evaluator='tensorpot', fit={'trainable_parameters': 'func'}).optimizer == everything
    assert training(fit={'optimizer': 'L-BFGS-B'}).optimizer == 0


def test_every_process_takes_its_share():
    one, four = (training(backend={'parallel_mode': 'process', 'n_workers': n}).total for n in (1, 4))
    assert training().total < one < four


def test_a_full_active_set_has_a_column_for_each_density():
    assert active_set(kind='full') == active_set(n_functions={'Mg': 1000, 'O': 700})
    assert active_set(kind='full').total > active_set().total


def test_batches_of_an_active_set():
    assert active_set(batch_size=100).working < active_set().working
    assert active_set(batch_size=1000) == active_set()
    assert active_set(memory_limit='100GB') == active_set()
    assert active_set(memory_limit='100MB').working < active_set(memory_limit='200MB').working < active_set().working
    # Without room for anything but the active sets, there are as many batches as structures.
    assert active_set(memory_limit='1MB') == active_set(batch_size=1)


def test_a_selection_holds_the_projections_of_all_candidates():
    estimate = predict_selection_memory(SURVEY, FUNCTIONS, SelectOptions())
    projections = 8 * 16_000 * np.array([500, 700])
    assert estimate.working == projections.sum() + 3 * projections.max()
    assert estimate.total > estimate.working


@pytest.fixture
def peak():
    """Return the function by which the benchmark measures the largest resident size of a program."""
    path = Path(__file__).parents[2] / 'benchmarks' / 'memory.py'
    spec = importlib.util.spec_from_file_location('memory_benchmark', path)
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark
    spec.loader.exec_module(benchmark)
    return benchmark.peak


@pytest.mark.engine
@pytest.mark.skipif(find_spec('pyace') is None, reason='needs python-ace')
@pytest.mark.skipif(sys.platform != 'linux', reason='the resident size is told in other units')
def test_the_programs_need_about_as_much(peak, tmp_path, mgo_frames, reference_energies):
    frames = mgo_frames.select(np.repeat(np.arange(len(mgo_frames)), 10))
    with (tmp_path / 'data.pckl.gzip').open('wb') as handle:
        write_dataset(frames, handle, energy=frames.energy, forces=frames.forces)
    shutil.copy(POTENTIAL, tmp_path)
    config = parse_config(CONFIG | {'max_deg': 3, 'max_order': 2, 'max_epochs': 1})
    (tmp_path / 'input.yaml').write_text(
        render_input(config, data_files=['data.pckl.gzip'], reference_energy=reference_energies)
    )
    found = survey(frames, 4.5)
    functions = {'Mg': 12, 'O': 12}
    predicted = {
        'pacemaker input.yaml --no-predict': predict_training_memory(config.sections(), found),
        f'pace_activeset -d data.pckl.gzip {POTENTIAL.name}': predict_active_set_memory(
            found, functions, {'Mg': 1, 'O': 1}, ActiveSetOptions()
        ),
        f'pace_select -p {POTENTIAL.name} data.pckl.gzip': predict_selection_memory(found, functions, SelectOptions()),
    }
    for command, estimate in predicted.items():
        program, *arguments = command.split()
        measured = peak([str(Path(sys.executable).parent / program), *arguments], tmp_path)
        assert 1 / REFUSAL_FACTOR < estimate.total / measured < REFUSAL_FACTOR, command

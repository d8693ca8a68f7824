"""Selections within the restart chain and the loop: by `pace_select` or by the posterior of a linear fit."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.select import PaceSelectCalculation
from aiida_pacemaker.calculations.select_posterior import PaceSelectPosteriorCalculation
from aiida_pacemaker.workflows.base.select import PaceSelectBaseWorkChain
from aiida_pacemaker.workflows.engines import engine_called
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain

CONFIG = {'elements': ['Mg', 'O'], 'r_cut': 4.5, 'max_deg': 4, 'max_order': 2, 'evaluator': 'linear'}
POSTERIOR = {'method': 'posterior', 'max_structures': 3}


@pytest.fixture
def fitted(narrow, reference_energies):
    """Return a function that fits linearly with some codes."""

    def fit(codes):
        inputs = {
            'dataset': narrow,
            'config': orm.Dict(CONFIG),
            'baseline': orm.Dict(DeltaBaseline.for_elements(['Mg', 'O'], mode='core').model_dump(mode='json')),
            'reference_energies': orm.Dict(reference_energies),
        }
        node = run_get_node(CalculationFactory('pacemaker.train.linear'), code=codes['python'], **inputs).node
        assert node.is_finished_ok, node.exit_message
        return node.outputs

    return fit


@pytest.mark.parametrize('fault', ['', 'exit_status:times=1,program=select_posterior'])
def test_by_the_posterior(pace_codes_fake, fitted, pool, tmp_path, fault):
    """The chain runs the job of the method, with the fake engine too; a failure that nothing is known of ends it."""
    outputs = fitted(pace_codes_fake)
    variables = {'PACE_FAKE_FAULT': fault, 'PACE_FAKE_STATE': str(tmp_path)} if fault else {}
    options = {'resources': {'num_machines': 1}, 'environment_variables': variables}
    inputs = {
        'code': pace_codes_fake['python'],
        'potential': outputs['potential'],
        'posterior': outputs['posterior'],
        'candidates': {'pool': pool},
        'options': orm.Dict(POSTERIOR),
        'metadata': {'options': options},
    }
    outputs, node = run_get_node(PaceSelectBaseWorkChain, pace=inputs)
    (job,) = node.called
    assert job.process_class is PaceSelectPosteriorCalculation
    if fault:
        assert node.exit_status == PaceSelectBaseWorkChain.exit_codes.ERROR_UNRECOVERABLE.status
        return
    assert node.is_finished_ok, node.exit_message
    assert outputs['selected'].n_frames == 3
    assert len(outputs['output_parameters']['gains']) == 3


def test_what_the_methods_need(pace_codes_fake, fitted, pool):
    outputs = fitted(pace_codes_fake)
    known = {'potential': outputs['potential'], 'candidates': {'pool': pool}}
    posterior = {'posterior': outputs['posterior']}
    python, select = pace_codes_fake['python'], pace_codes_fake['select']
    refused = {
        '`posterior` is missing': {'code': python, 'options': orm.Dict(POSTERIOR)},
        'the method is maxvol: set `method: posterior`': {'code': select, **posterior},
        'run by the Python of the engine: give its code': {
            'code': select,
            'options': orm.Dict(POSTERIOR),
            **posterior,
        },
        'by `pace_select`: give its code': {'code': python},
    }
    for text, inputs in refused.items():
        with pytest.raises(ValueError, match=text):
            run_get_node(PaceSelectBaseWorkChain, pace={**known, **inputs})


@pytest.fixture
def loop_inputs():
    """Return a function that makes the inputs of a small loop by codes and the options of the selection."""

    def make(codes, select, **config):
        by_name = {'train': 'pacemaker', 'activeset': 'pace_activeset', 'select': 'pace_select', 'python': 'python'}
        given = {name: codes[key] for key, name in by_name.items()}
        known = {name: value for name, value in {**CONFIG, **config}.items() if name != 'elements'}
        sections = {'config': known, 'activeset': {}, 'select': select}
        options = {'resources': {'num_machines': 1}}
        return engine_called('pacemaker').builder_inputs(given, sections, ['Mg', 'O'], options)

    return make


def test_a_loop_that_selects_by_the_posterior(pace_codes, narrow, pool, loop_inputs):
    """Each generation selects by the posterior of its own fit, of the candidates on which it extrapolates."""
    given = loop_inputs(pace_codes, {'method': 'posterior'})
    assert given['select']['pace']['code'].uuid == pace_codes['python'].uuid
    settings = orm.Dict({'max_generations': 2, 'gamma_threshold': 1.0, 'frames_per_generation': 3})
    _, node = run_get_node(PaceActiveLearningWorkChain, dataset=narrow, pool=pool, settings=settings, **given)
    assert node.is_finished_ok, node.exit_message
    by_label = {label: [one for one in node.called if one.process_label == label] for label in CHAINS}
    training, selection = by_label['PaceTrainBaseWorkChain'][0], by_label['PaceSelectBaseWorkChain'][0]
    assert selection.inputs.pace.posterior.uuid == training.outputs.posterior.uuid
    assert selection.called[0].process_class is PaceSelectPosteriorCalculation
    assert selection.outputs.selected.n_frames == 3
    gains = selection.outputs.output_parameters['gains']
    assert gains == sorted(gains, reverse=True)
    assert by_label['PaceTrainBaseWorkChain'][1].outputs.fit['n_frames'] == training.outputs.fit['n_frames'] + 3


CHAINS = ('PaceTrainBaseWorkChain', 'PaceSelectBaseWorkChain')


def test_a_loop_without_linear_fits_has_no_posterior(pace_codes_fake, narrow, pool, loop_inputs):
    given = loop_inputs(pace_codes_fake, {'method': 'posterior'}, evaluator='pyace')
    with pytest.raises(ValueError, match='the method posterior needs the posterior of an exact linear fit'):
        run_get_node(PaceActiveLearningWorkChain, dataset=narrow, pool=pool, **given)
    given = loop_inputs(pace_codes_fake, {'method': 'maxvol'}, evaluator='pyace')
    settings = orm.Dict({'target_sigma_forces': 0.05})
    with pytest.raises(ValueError, match='target_sigma_forces needs the error bars of exact linear fits'):
        run_get_node(PaceActiveLearningWorkChain, dataset=narrow, pool=pool, settings=settings, **given)


def test_a_loop_by_maxvol_gives_no_posterior(pace_codes_fake, narrow, pool, loop_inputs):
    given = loop_inputs(pace_codes_fake, {'method': 'maxvol'})
    settings = orm.Dict({'max_generations': 2, 'gamma_threshold': 1.0, 'frames_per_generation': 3})
    _, node = run_get_node(PaceActiveLearningWorkChain, dataset=narrow, pool=pool, settings=settings, **given)
    assert node.is_finished_ok, node.exit_message
    selection = next(one for one in node.called if one.process_label == 'PaceSelectBaseWorkChain')
    assert 'posterior' not in selection.inputs.pace
    assert selection.called[0].process_class is PaceSelectCalculation

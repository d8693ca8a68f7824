"""What is asked for in the wrong place is refused, with the right one: nothing is passed over that may be paid for."""

from __future__ import annotations

import pytest
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory

from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain


@pytest.fixture
def build(pace_codes_fake, narrow, pool):
    """Return a function that makes a builder of the loop."""

    def make(**arguments):
        return PaceActiveLearningWorkChain.get_builder_from_protocol(
            **{
                'pacemaker': pace_codes_fake['train'],
                'pace_activeset': pace_codes_fake['activeset'],
                'pace_select': pace_codes_fake['select'],
                'python': pace_codes_fake['python'],
                'dataset': narrow,
                'pool': pool,
                'protocol': 'fast',
                **arguments,
            },
        )

    return make


@pytest.mark.fault(
    'overrides of a protocol are given at the wrong level, such as a budget of labels',
    engine='(not the engine: they were passed over, and the labels paid for)',
    here='refused with the place that each belongs to',
    ends='-',
)
@pytest.mark.parametrize(
    ('overrides', 'line'),
    [
        (
            {'label_budget': 20},
            "label_budget: is not read here; give it as overrides={'settings': {'label_budget': 20",
        ),
        ({'r_cut': 5.0}, "r_cut: is not read here; give it as overrides={'config': {'r_cut': 5.0}}"),
        ({'settings': {'r_cut': 5.0}}, "settings.r_cut: is not read here; give it as overrides={'config': {'r_cut': 5"),
        ({'config': {'max_structures': 3}}, "give it as overrides={'select': {'max_structures': 3}}"),
        ({'setting': {}}, 'setting: unknown key; did you mean settings?'),
        (
            {'settings': {'frames_per_gen': 3}},
            'settings.frames_per_gen: unknown key; did you mean settings.frames_per_',
        ),
        ({'settings': 20}, 'settings: found 20, needed: a mapping'),
        (20, 'found 20, needed: a mapping with any of config, settings, activeset, select'),
        ([], 'found [], needed: a mapping'),
        ({'options': {'account': 'x'}}, "options: is no override; give it beside the overrides, as options={'account'"),
        ({'max_wallclock_seconds': 60}, "beside the overrides, as options={'max_wallclock_seconds': 60}"),
        ({'metadata': {'options': {'account': 'x'}}}, 'metadata: is no override; give it beside the overrides, as opt'),
        ({'clean_workdir': False}, 'it is an input of the loop: give it beside the overrides, as clean_workdir=...'),
        ({'train': {}}, 'train: is no override; set it in the builder that is returned, as in builder.train[...]'),
        ({'select': {'memory_limit': '3'}}, "memory_limit: found '3', needed: text of the form"),
    ],
)
def test_an_override_in_the_wrong_place(build, overrides, line):
    with pytest.raises(ConfigError) as raised:
        build(overrides=overrides)
    assert line in str(raised.value)


def test_an_input_that_the_loop_does_not_have(build, narrow):
    with pytest.raises(ConfigError, match='test_set: did you mean test_dataset'):
        build(test_set=narrow)
    with pytest.raises(ConfigError, match=r"label_budget: .* give it as overrides={'settings': {'label_budget': 20}}"):
        build(label_budget=20)
    with pytest.raises(ConfigError, match=r"max_memory_kb: .* as options={'max_memory_kb': 9}"):
        build(max_memory_kb=9)


def test_codes_by_label_and_pk(build, pace_codes_fake):
    code, other = pace_codes_fake['python'], pace_codes_fake['select']
    builder = build(python=code.full_label, pace_select=other.pk, overrides={'select': {'method': 'maxvol'}})
    # The fit is an exact linear one, which the Python of the engine runs.
    assert (builder.train['pace']['code'].uuid, builder.select['pace']['code'].uuid) == (code.uuid, other.uuid)
    with pytest.raises(ValueError, match=r"there is no code 'nosuch@localhost': `verdi code list` has"):
        build(pacemaker='nosuch@localhost')


@pytest.mark.parametrize(
    ('overrides', 'method'),
    [
        ({}, 'posterior'),
        ({'select': {'max_structures': 3}}, 'posterior'),
        ({'select': {'method': 'maxvol'}}, 'maxvol'),
        ({'select': {'refinements': 3}}, 'maxvol'),
        ({'config': {'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3}}, 'maxvol'),
    ],
)
def test_exact_linear_fits_select_by_their_posterior(build, pace_codes_fake, overrides, method):
    select = build(overrides=overrides).select['pace']
    options = select['options'].get_dict() if 'options' in select else {}
    assert options.get('method', 'maxvol') == method
    assert select['code'].uuid == pace_codes_fake['python' if method == 'posterior' else 'select'].uuid


def test_an_option_that_jobs_do_not_have(build):
    with pytest.raises(ConfigError, match=r'max_walltime: known: .*max_wallclock_seconds'):
        build(options={'max_walltime': 60})
    with pytest.raises(ConfigError, match=r'queue: did you mean queue_name'):
        build(options={'queue': 'long'})
    with pytest.raises(ConfigError, match=r"r_cut: .* give it as overrides={'config': {'r_cut': 5.0}}"):
        build(options={'r_cut': 5.0})
    with pytest.raises(ConfigError, match=r'options cannot be used: found 5'):
        build(options=5)


def test_a_limit_below_zero(build, pace_codes_fake, training_inputs):
    with pytest.raises(ValueError, match='max_wallclock_seconds` is -5: ask for a number of seconds above 0'):
        run_get_node(build(options={'max_wallclock_seconds': -5}))
    with pytest.raises(ValueError, match='max_memory_kb` is -1: ask for a number of kilobytes above 0'):
        run_get_node(build(options={'max_memory_kb': -1}))
    options = {'options': {'max_wallclock_seconds': 0}}
    with pytest.raises(ValueError, match='max_wallclock_seconds` is 0'):
        run_get_node(
            CalculationFactory('pacemaker.train'), code=pace_codes_fake['train'], metadata=options, **training_inputs
        )


@pytest.mark.fault(
    'the codes of two programs are swapped',
    engine='stops without a reason',
    here='the default plugin of the code tells: refused before submission',
    ends='-',
)
def test_swapped_codes(build, pace_codes_fake, training_inputs):
    code = pace_codes_fake['select'].clone()
    code.label = 'select'
    code.default_calc_job_plugin = 'pacemaker.select'
    code.store()
    with pytest.raises(ValueError, match=r'is a code for `pacemaker.select`, not for `pacemaker.train`'):
        run_get_node(CalculationFactory('pacemaker.train'), code=code, **training_inputs)
    with pytest.raises(ValueError, match=r'`yace_code`: .* is a code for `pacemaker.select`'):
        run_get_node(
            CalculationFactory('pacemaker.train'), code=pace_codes_fake['train'], yace_code=code, **training_inputs
        )

"""What a wrong configuration is told."""

import pytest

from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.pace.config.trainer_config import parse_config

BOND = {'radbase': 'SBessel', 'radparameters': [5.25], 'rcut': 5.0, 'dcut': 0.01}
SHAPE = {'nradmax_by_orders': [4, 2], 'lmax_by_orders': [0, 2]}


def shape(nradmax, lmax):
    return {'nradmax_by_orders': nradmax, 'lmax_by_orders': lmax}


def complaints(**over):
    """Return the lines that complain about a right configuration changed in one place; None takes a key away."""
    given = {'elements': ['Al', 'Ni'], 'evaluator': 'pyace', 'r_cut': 5.0, 'max_deg': 6} | over
    with pytest.raises(ConfigError) as raised:
        parse_config({key: value for key, value in given.items() if value is not None})
    first, *lines = str(raised.value).splitlines()
    assert first == 'the configuration cannot be used:'
    return [line.strip() for line in lines]


def bonds(**over):
    return complaints(r_cut=None, potential={'bonds': {'ALL': BOND} | over})


def functions(**over):
    return complaints(max_deg=None, potential={'functions': over})


@pytest.mark.parametrize(
    ('over', 'line'),
    [
        ({'fit': {'optimiser': 'BFGS'}}, 'fit.optimiser: unknown key; did you mean fit.optimizer?'),
        ({'fit': {'maxitr': 10}}, 'fit.maxitr: unknown key; did you mean fit.maxiter?'),
        ({'fit': {'kapa': 0.3}}, 'fit.kapa: unknown key; did you mean fit.loss.kappa?'),
        ({'fit': {'loss': {'kapa': 0.3}}}, 'fit.loss.kapa: unknown key; did you mean fit.loss.kappa?'),
        ({'maxiter': 10}, 'maxiter: unknown key; did you mean fit.maxiter?'),
        ({'rcut': 10}, 'rcut: unknown key; did you mean r_cut or potential.bonds.*.rcut?'),
        ({'backend': {'evaluatr': 'pyace'}}, 'backend.evaluatr: unknown key; did you mean backend.evaluator?'),
        (
            {'potential': {'bonds': {'ALL': BOND | {'core_repulsion': [1, 1]}}}},
            'potential.bonds.ALL.core_repulsion: unknown key; did you mean potential.bonds.ALL.core-repulsion?',
        ),
        (
            {'potential': {'functions': {'ALL': SHAPE | {'nradmax_by_order': [1]}}}, 'max_deg': None},
            'potential.functions.ALL.nradmax_by_order: unknown key; '
            'did you mean potential.functions.ALL.nradmax_by_orders?',
        ),
    ],
)
def test_near_miss_is_named(over, line):
    assert complaints(**over) == [line]


def test_key_without_near_miss_lists_known_ones():
    (line,) = complaints(backend={'gigaflops': 3})
    assert line.startswith('backend.gigaflops: unknown key; known here: evaluator, parallel_mode, n_workers, ')


def test_every_problem_has_its_line():
    lines = complaints(r_cut=-3.0, bogus=1, fit={'maxiter': 0, 'optimizer': 'bfgs'}, seed=1.5)
    assert lines == [
        'r_cut: found -3.0, needed: greater than 0 (outer cutoff in angstrom)',
        'seed: found 1.5, needed: an integer (seed of all random numbers)',
        "fit.optimizer: found 'bfgs', needed: 'BFGS', 'L-BFGS-B', 'CG' or 'Nelder-Mead' (scipy method); "
        'did you mean BFGS?',
        'fit.maxiter: found 0, needed: greater than or equal to 1 (iterations of each cycle and ladder step)',
        next(line for line in lines if line.startswith('bogus: unknown key; known here: elements, r_cut, max_deg')),
    ]


@pytest.mark.parametrize(
    ('over', 'start'),
    [
        ({'elements': None}, 'elements: missing; needed: chemical symbols of the potential'),
        ({'elements': []}, 'elements: found [], needed: at least 1 of them'),
        ({'elements': 'AlNi'}, "elements: found 'AlNi', needed: a list"),
        ({'elements': ['Al', 'Xx']}, 'elements: no chemical symbols: Xx'),
        ({'elements': ['Al', 'Al']}, 'elements: found Al, Al, needed: each once'),
        ({'potential': {'elements': ['Al']}}, 'potential.elements: found Al, needed: the same as elements, Al, Ni'),
        ({'r_cut': None}, 'r_cut: missing; needed: the outer cutoff in angstrom, or potential.bonds'),
        ({'r_cut': '5'}, "r_cut: found '5', needed: a number"),
        ({'r_cut': float('nan')}, 'r_cut: found nan, needed: a finite number'),
        ({'r_cut': float('inf')}, 'r_cut: found inf, needed: a finite number'),
        ({'max_deg': None}, 'max_deg: missing; needed: the total degree of the functions, or potential.functions'),
        ({'max_deg': 2}, 'max_deg: found 2, needed: at least max_order, 3'),
        ({'max_deg': 60}, 'max_deg: found 60, which gives lmax_by_orders: found 30 for order 2, needed: at most 10'),
        ({'kappa': 2}, 'kappa: found 2, needed: a number from 0 (energies only) to 1 (forces only)'),
        ({'kappa': True}, 'kappa: found True, needed: a number'),
        ({'active_set_size': 0}, 'active_set_size: found 0, needed: greater than or equal to 1'),
        ({'metadata': {'a': 1}}, 'metadata.a: found 1, needed: text'),
        ({'potential': 'old.yaml'}, "potential: found 'old.yaml', needed: a mapping"),
        ({'cutoff': 7.0}, 'cutoff: written from r_cut, or the largest rcut of potential.bonds; set these'),
    ],
)
def test_wrong_short_form(over, start):
    (line,) = complaints(**over)
    assert line.startswith(start)


@pytest.mark.parametrize(
    ('over', 'start'),
    [
        ({'max_epochs': 10, 'fit': {'maxiter': 20}}, 'max_epochs: found 10, but fit.maxiter is 20'),
        ({'kappa': 0.5, 'fit': {'loss': {'kappa': 'auto'}}}, "kappa: found 0.5, but fit.loss.kappa is 'auto'"),
        ({'evaluator': 'pyace', 'backend': {'evaluator': 'tensorpot'}}, "evaluator: found 'pyace', but backend.eval"),
        ({'potential': {'bonds': {'ALL': BOND | {'rcut': 6.0}}}}, 'r_cut: found 5.0, but the largest rcut of'),
        ({'potential': {'functions': {'ALL': SHAPE}}}, 'max_deg: potential.functions says this too'),
    ],
)
def test_short_form_and_section_must_agree(over, start):
    (line,) = complaints(**over)
    assert line.startswith(start)


@pytest.mark.parametrize(
    ('section', 'key', 'reason'),
    [
        ('data', 'filename', '`dataset` input'),
        ('data', 'test_filename', '`test_dataset` input'),
        ('data', 'test_size', '`test_dataset` input'),
        ('data', 'reference_energy', '`reference_energies` input'),
        ('data', 'datapath', 'working folder'),
        ('fit', 'callbacks', 'names Python code to import on the computer'),
        ('potential', 'filename', '`potential` and `potential_mode` inputs'),
        ('potential', 'initial_potential', '`potential` and `potential_mode` inputs'),
        ('potential', 'reset', '`potential` and `potential_mode` inputs'),
    ],
)
@pytest.mark.parametrize('hatch', [False, True])
def test_what_the_calculation_sets_is_refused(section, key, reason, hatch):
    given = {section: {key: 'x'}}
    (line,) = complaints(extra=given) if hatch else complaints(**given)
    assert line.startswith(f'{"extra." if hatch else ""}{section}.{key}: ')
    assert reason in line


def test_extra_cannot_say_what_is_known():
    assert complaints(extra={'fit': {'loss': {'kappa': 7}}}) == [
        'extra.fit.loss.kappa: is a known key; give it as fit.loss.kappa'
    ]
    assert complaints(extra={'potential': {'bonds': {'ALL': {'rcut': -1}}}}) == [
        'extra.potential.bonds.ALL.rcut: is a known key; give it as potential.bonds.ALL.rcut'
    ]
    (line,) = complaints(extra={'fits': {}})
    assert line.startswith('extra.fits: unknown section')


@pytest.mark.parametrize(
    ('given', 'start'),
    [
        (
            {'weighting': {'type': 'ExternalWeightingPolicy', 'filename': 'weights.pckl.gzip'}},
            'fit.weighting.filename: weights come with the frames: merge with `weights`',
        ),
        (
            {'weighting': {'type': 'ExternalWeightingPolicy', 'DE': 1.0}},
            'fit.weighting.DE: not read with ExternalWeightingPolicy',
        ),
        ({'weighting': {'type': 'Uniform'}}, "fit.weighting.type: found 'Uniform', needed: 'EnergyBasedWeightingPo"),
        ({'weighting': {}}, 'fit.weighting.type: missing; needed: the weighting policy'),
        (
            {'weighting': {'type': 'EnergyBasedWeightingPolicy', 'n_lower': 3}},
            'fit.weighting.n_lower: give either nfit',
        ),
        (
            {'weighting': {'type': 'EnergyBasedWeightingPolicy', 'DElow': 11.0}},
            'fit.weighting.DElow: found 11.0, neede',
        ),
        ({'options': {'maxcor': 100}}, 'fit.options.maxcor: unknown to BFGS; known: c1, c2, disp, eps, '),
        ({'options': {'maxiter': 100}}, 'fit.options.maxiter: set fit.maxiter (or max_epochs) instead'),
        ({'options': {'gtol': 'tight'}}, "fit.options.gtol: found 'tight', needed: a number, true or false"),
        ({'trainable_parameters': 'fun'}, "fit.trainable_parameters: found 'fun', needed: 'func', 'radial', one or a "),
        ({'trainable_parameters': 'all'}, "fit.trainable_parameters: found 'all', needed: 'func', "),
        ({'trainable_parameters': {'ALL': []}}, "fit.trainable_parameters: found {'ALL': []}, needed: "),
        ({'trainable_parameters': 'CuAl'}, 'fit.trainable_parameters: Cu not among the elements Al, Ni'),
        ({'ladder_step': 0}, 'fit.ladder_step: found 0, needed: an integer >= 1'),
        ({'ladder_step': 1.5}, 'fit.ladder_step: found 1.5, needed: an integer >= 1'),
        ({'ladder_step': [5, 6]}, 'fit.ladder_step: found [5, 6], needed: an integer >= 1'),
        ({'noise_relative_sigma': 0.1}, 'fit.noise_relative_sigma: acts from the second cycle on; set fit_cycles'),
        (
            {'noise_relative_sigma': 0.1, 'noise_absolute_sigma': 0.1, 'fit_cycles': 2},
            'fit.noise_absolute_sigma: the engine applies only one kind of noise',
        ),
        ({'repulsion': 'zbl'}, "fit.repulsion: found 'zbl', needed: 'auto'"),
        ({'loss': {'w_orth': 1.0}}, 'fit.loss.w_orth: read by tensorpot only, and the evaluator is pyace'),
        ({'min_relative_test_loss_per_iter': 1e-5}, 'fit.min_relative_test_loss_per_iter: read by tensorpot only'),
    ],
)
def test_wrong_fit(given, start):
    (line,) = complaints(fit=given)
    assert line.startswith(start)


@pytest.mark.parametrize(
    ('over', 'start'),
    [
        ({'backend': {'batch_size': 10}}, 'backend.batch_size: read by tensorpot only, and the evaluator is pyace'),
        ({'backend': {'gpu_config': {'gpu_ind': 0}}}, 'backend.gpu_config: read by tensorpot only'),
        ({'evaluator': 'tensorpot', 'backend': {'n_workers': 2}}, 'backend.n_workers: read by linear and pyace only'),
        ({'backend': {'n_workers': 2}}, 'backend.n_workers: read with parallel_mode process only'),
        ({'evaluator': 'tensorpot', 'fit': {'optimizer': 'Nelder-Mead'}}, 'fit.optimizer: found Nelder-Mead'),
        (
            {'evaluator': 'tensorpot', 'potential': {'bonds': {'ALL': BOND | {'radbase': 'ChebLinear'}}}},
            'potential.bonds: radbase ChebLinear is not in tensorpot',
        ),
    ],
)
def test_evaluator_must_read_it(over, start):
    assert complaints(**over)[0].startswith(start)


@pytest.mark.parametrize(
    ('over', 'line'),
    [
        (
            {'ALL': {'rcut': 5.0}},
            'potential.bonds (Al-Al, Al-Ni, Ni-Ni): radbase: missing; give it for ALL or for this pair',
        ),
        ({'AlNi': {'dcut': 6.0}}, 'potential.bonds (Al-Ni): dcut: found 6.0, needed: less than rcut 5.0'),
        ({'Al': {'r_in': 6.0}}, 'potential.bonds (Al-Al): r_in: found 6.0, needed: less than rcut 5.0'),
        (
            {'UNARY': {'delta_in': 0.2}},
            'potential.bonds (Al-Al, Ni-Ni): delta_in: found 0.2, needed: at most r_in 0.0, '
            'where the transition begins',
        ),
        (
            {'NiAl': {'inner_cutoff_type': 'zbl'}},
            'potential.bonds: inner_cutoff_type must be the same for all bonds, found distance and zbl',
        ),
        ({'AlCu': {}}, 'potential.bonds.AlCu: Cu not among the elements Al, Ni'),
        ({'Al Ni': {}, 'NiAl': {}}, 'potential.bonds.NiAl: names the same elements as bonds.Al Ni; keep one of them'),
        ({'Al': {}, 'AlAl': {}}, 'potential.bonds.AlAl: names the same elements as bonds.Al; keep one of them'),
        ({'TERNARY': {}}, 'potential.bonds.TERNARY: unknown key; needed: ALL, UNARY, BINARY or elements such as AlNi'),
        ({'AlNiNi': {}}, 'potential.bonds.AlNiNi: found 3 elements, needed: at most 2'),
        (
            {'AlNi': {'nradbase': 3}},
            'potential.bonds (Al-Ni, Ni-Al): nradbase: found 3, needed: at least 6 for the functions',
        ),
    ],
)
def test_wrong_bonds(over, line):
    assert bonds(**over)[0] == line


@pytest.mark.parametrize(
    ('over', 'line'),
    [
        ({'UNARY': SHAPE, 'Al': {}, 'AlNi': SHAPE}, 'potential.functions: AlNi is given without NiAl; give both'),
        (
            {'Al': SHAPE},
            'potential.functions: no functions for Ni alone, which the engine would leave out of the potential; '
            'give ALL, UNARY or Ni',
        ),
        (
            {'ALL': shape([4, 2], [0])},
            'potential.functions (Al, Ni, Al-Ni, Ni-Al): lmax_by_orders: found 1 orders, needed: 2 as in '
            'nradmax_by_orders',
        ),
        (
            {'UNARY': shape([4, 2], [1, 2])},
            'potential.functions (Al, Ni): lmax_by_orders: found 1 for order 1, needed: at most 0',
        ),
        (
            {'UNARY': shape([4, 2, 2, 2, 2, 3], [0, 1, 1, 1, 1, 1])},
            'potential.functions (Al, Ni): nradmax_by_orders: found 3 for order 6, needed: at most 2, '
            'where the table of the engine ends',
        ),
        (
            {'ALL': SHAPE, 'number_of_functions_per_element': 1},
            'potential.functions.number_of_functions_per_element: found 1, needed: at least 2, '
            'one for each of the 4 blocks of elements',
        ),
        (
            {'ALL': SHAPE, 'NiNi': SHAPE},
            'potential.functions.NiNi: write the central atom, then its neighbours in alphabetical order, each once',
        ),
        (
            {'ALL': {'nradmax_by_orders': [3]}},
            'potential.functions (Al, Ni, Al-Ni, Ni-Al): lmax_by_orders: missing; give it here or for a wider group',
        ),
    ],
)
def test_wrong_functions(over, line):
    assert functions(**over) == [line]


def test_wrong_embeddings():
    given = {'ALL': {'npot': 'FinnisSinclair', 'ndensity': 2, 'fs_parameters': [1, 1]}}
    assert complaints(potential={'embeddings': given}) == [
        'potential.embeddings (Al, Ni): fs_parameters: found 2 numbers, needed: 4, '
        'a prefactor and an exponent for each density'
    ]
    assert complaints(potential={'embeddings': {'Al': given['ALL'] | {'ndensity': 1}}}) == [
        f'potential.embeddings (Ni): {key}: missing; give it for ALL or for this element'
        for key in ('npot', 'fs_parameters', 'ndensity')
    ]


def test_larger_blocks_need_their_pairs():
    """The engine stops with `map::at` without them."""
    functions = {'UNARY': SHAPE, 'TERNARY': SHAPE}
    config = {'elements': ['Al', 'Cu', 'Ni'], 'r_cut': 5.0, 'potential': {'functions': functions}}
    with pytest.raises(
        ConfigError, match='AlCuNi is given without AlCu, AlNi, CuAl, CuNi, NiAl, NiCu; give BINARY or all'
    ):
        parse_config(config)
    functions['BINARY'] = SHAPE
    assert parse_config(config).elements == ('Al', 'Cu', 'Ni')

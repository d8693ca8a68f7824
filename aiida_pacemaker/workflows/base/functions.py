"""Calculation functions of the restart chains, so that all their data have provenance."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_pacemaker.data.learning_curves import curves_from_tables, tables_from_curves
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.pace.config.expansion import deep_merge
from aiida_pacemaker.pace.config.options import ActiveSetOptions
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.output.metrics import stitch


@calcfunction
def remaining_epochs(config: orm.Dict, learning_curves: orm.ArrayData, max_epochs: orm.Int | None = None) -> orm.Int:
    """Return how many iterations are left of those that a stopped fit cycle was to do; at least one.

    :param max_epochs: what the stopped cycle was to do, if not what the config says.
    """
    wanted = parse_config(config.get_dict()).maxiter if max_epochs is None else max_epochs.value
    return orm.Int(max(1, wanted - int(tables_from_curves(learning_curves)['train']['iter_num'][-1])))


@calcfunction
def remaining_cycles(config: orm.Dict, learning_curves: orm.ArrayData) -> orm.Dict:
    """Return a config for the fit cycles that are left of those that a stopped fit was to do, the stopped one included.

    The stopped cycle goes on from where it was. The engine has one number of iterations for all cycles.
    """
    content: dict[str, Any] = config.get_dict()
    fit = dict(content['fit'])
    fit['fit_cycles'] = max(1, fit['fit_cycles'] - int(tables_from_curves(learning_curves)['train']['cycle_step'][-1]))
    if fit['fit_cycles'] == 1:
        # Noise is for the second cycle and those after it.
        for key in ('noise_relative_sigma', 'noise_absolute_sigma', 'randomize_func_coeffs'):
            fit.pop(key, None)
    return orm.Dict({**content, 'fit': fit})


@calcfunction
def strengthen_regularisation(config: orm.Dict) -> orm.Dict:
    """Return a config with a hundred times the L2 penalty on the coefficients, and no less than 1e-6."""
    # The whole loss: with a part of it given, the rest would have other defaults.
    loss = parse_config(config.get_dict()).sections()['fit']['loss']
    loss['L2_coeffs'] = max(100 * loss.get('L2_coeffs', 0.0), 1e-6)
    return orm.Dict(deep_merge(config.get_dict(), {'fit': {'loss': loss}}))


@calcfunction
def stitch_curves(**legs: orm.ArrayData) -> orm.ArrayData:
    """Return the learning curves of all legs of a fit as one."""
    tables = [tables_from_curves(leg) for _, leg in sorted(legs.items())]
    curves = {'train': stitch([leg['train'] for leg in tables])}
    tested = [leg for leg in tables if 'test' in leg]
    if tested:
        curves['test'] = stitch([leg['test'] for leg in tested], [leg['train'] for leg in tested])
    return curves_from_tables(curves)


@calcfunction
def stitch_metrics(**legs: orm.Dict) -> orm.Dict:
    """Return the errors at the end of the last leg of a fit, with iterations, time and warnings of all legs."""
    ordered = [leg.get_dict() for _, leg in sorted(legs.items())]
    times = [leg['training_time'] for leg in ordered]
    return orm.Dict(
        {
            **ordered[-1],
            'iterations': sum(leg['iterations'] for leg in ordered),
            'training_time': None if None in times else sum(times),
            'warnings': list(dict.fromkeys(warning for leg in ordered for warning in leg['warnings'])),
        }
    )


@calcfunction
def reduce_memory(config: orm.Dict) -> orm.Dict:
    """Return a config that needs less memory: half the batch size, half the workers; the same if both are at one.

    Where the number of workers is left to the engine, it is one for each core, and becomes one; as does any number of
    a linear fit, each of which has matrices of its own.
    """
    parsed = parse_config(config.get_dict())
    backend = parsed.sections()['backend']
    content: dict[str, Any] = config.get_dict()
    if parsed.used_evaluator == 'linear':
        return orm.Dict(deep_merge(content, {'backend': {'n_workers': 1}}))
    if backend.get('parallel_mode') == 'process':
        backend = {'n_workers': 1, **backend}
    changes = {
        key: max(1, backend[key] // 2) for key in ('batch_size', 'n_workers') if isinstance(backend.get(key), int)
    }
    return orm.Dict(deep_merge(content, {'backend': changes}) if changes else content)


@calcfunction
def with_all_atoms(options: orm.Dict | None = None) -> orm.Dict:
    """Return the options of an active set with no atom left out for its force error."""
    given = parse_options(ActiveSetOptions, {} if options is None else options.get_dict())
    return orm.Dict(
        given.model_copy(update={'all_atoms': True, 'max_force_error': None}).model_dump(mode='json', exclude_none=True)
    )

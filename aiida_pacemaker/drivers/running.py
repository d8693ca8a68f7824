"""One run of molecular dynamics, from its velocities to the reason of its end: put beside the driver of runs."""

import contextlib
import traceback

import numpy as np
from dynamics import check_sanity, give_velocities, make_dynamics, scheduled, set_conditions


def run_dynamics(atoms, watch, options, random):
    """Run the dynamics of one structure, and return why it ended, after how many steps, and what there is to say."""
    step, volume = 0, abs(np.linalg.det(atoms.cell[:]))
    steady = options['temperatures'][:1] if options['ensemble'] == 'nve' else options['temperatures']
    try:
        give_velocities(atoms, options['temperatures'][0], random)
        dynamics = make_dynamics(atoms, options, random)
        reason = watch.check(step, atoms, steady[0])
        while reason is None and step < options['n_steps']:
            set_conditions(dynamics, options, step)
            dynamics.step()
            step += 1
            check_sanity(atoms, volume)
            if step % options['check_every'] == 0 or step == options['n_steps']:
                reason = watch.check(step, atoms, scheduled(steady, step, options['n_steps']))
            else:
                watch.remember(step, atoms)
    except Exception as exception:  # whatever is raised is the reason why this run failed
        traceback.print_exc()
        with contextlib.suppress(Exception):
            watch.look_back(atoms)
        return {'reason': 'failed', 'steps': step, 'message': f'{type(exception).__name__}: {exception}'[:500]}
    return {'reason': reason or 'finished', 'steps': step, 'message': ''}

"""Stop a fit when it is asked to: imported by the engine, which calls `stop` after each iteration of the optimiser.

The file `STOP` beside the fit asks for it: JSON with `reason` and the counts `ladder_step` and `cycle_step` of the fit
cycle that is to end, for others come after it in a ladder or where there are several. The engine then goes on as after
early stopping: it keeps the potential, and so do the programs that follow.
"""

import json
import logging

log = logging.getLogger(__name__)


def stop(current_fit_cycle, current_ladder_step, **_):
    """Raise `StopIteration`, by which the optimiser ends with what it has, if this fit cycle is to end."""
    try:
        with open('STOP') as handle:
            request = json.load(handle)
        wanted = request['ladder_step'], request['cycle_step']
    except (OSError, ValueError, KeyError, TypeError):
        return  # Not there, or only a part of it so far.
    if wanted == (current_ladder_step, current_fit_cycle):
        log.info('Stopped on request: %s', request.get('reason', 'no reason given'))
        raise StopIteration

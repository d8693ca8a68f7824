"""The environment of Python in a job: what was set for the job, and nothing that it inherits.

A job on the machine of the daemon inherits the environment of the daemon, directly or through a scheduler. The daemon
exports the search path of its own Python as `PYTHONPATH` (see `get_env` of AiiDA's `DaemonClient`), with which an
engine in another environment imports the packages of AiiDA in place of its own: other versions of NumPy, or compiled
for another Python.
"""

from __future__ import annotations

from collections.abc import Collection

#: Variables that redirect where Python finds its modules.
VARIABLES = ('PYTHONPATH', 'PYTHONHOME')

#: Takes from a variable what the shell of the job has inherited, in the words of any POSIX shell. What the computer,
#: the code or a module has put before or behind it stays. `/proc` has the environment that a process began with;
#: without it (macOS) the variable is taken as inherited.
_TAKE_OFF = """\
if [ -n "${{{name}-}}" ]; then
  if [ -r /proc/$$/environ ]; then
    inherited=$(tr '\\0' '\\n' < /proc/$$/environ | sed -n 's/^{name}=//p')
  else
    inherited=${name}
  fi
  if [ -n "$inherited" ]; then
    case ":${name}:" in
      *":$inherited:"*)
        {name}=":${name}:"
        {name}="${{{name}%%":$inherited:"*}}:${{{name}#*":$inherited:"}}"
        {name}=${{{name}#:}}
        {name}=${{{name}%:}}
        ;;
    esac
  fi
  [ -n "${name}" ] || unset {name}
fi"""


def clean_python(given: Collection[str] = ()) -> str:
    """Return lines for the script of a job after which Python has only the search path that was set for the job.

    :param given: environment variables that the job sets itself (`metadata.options.environment_variables`), which
        replace what is inherited.
    """
    return '\n'.join(_TAKE_OFF.format(name=name) for name in VARIABLES if name not in given)

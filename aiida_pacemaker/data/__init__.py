"""AiiDA nodes: dataset, potential, active set."""

from aiida_pacemaker._aiida.storage import wait_for_writers

# Whatever runs a process of this package imports one of its nodes.
wait_for_writers()

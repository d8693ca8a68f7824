"""What the programs leave behind: metrics, logs, failures, potentials, active sets."""

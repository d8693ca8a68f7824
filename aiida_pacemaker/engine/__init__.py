"""What the engine reads and writes: inputs, metrics, logs, potentials, active sets. Plain Python, no AiiDA."""

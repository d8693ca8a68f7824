"""AiiDA nodes: dataset, potential, active set."""

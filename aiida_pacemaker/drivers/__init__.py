"""Scripts that the engine's own Python runs on the computer. They import neither this package nor AiiDA."""

"""The fake engine: programs with the command lines of the real ones."""

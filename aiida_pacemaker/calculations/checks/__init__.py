"""Checks of the inputs of jobs before submission."""

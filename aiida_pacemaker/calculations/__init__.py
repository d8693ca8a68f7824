"""Calculation jobs, one per file, and the drivers that run on the computer."""

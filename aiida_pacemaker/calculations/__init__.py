"""Calculation jobs, one per file, with what they share; functions and checks have folders of their own."""

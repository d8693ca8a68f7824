"""Calculation functions, and functions that call them with plain arguments."""

"""Exact fits of potentials that are linear in their coefficients: equations, least squares, priors, error bars.

Needs NumPy and SciPy only, and for `basis` and `rows` the engine. The folder is also put beside the driver of linear
fits, which runs where this package is not installed: modules import each other relatively and nothing else of it.
"""

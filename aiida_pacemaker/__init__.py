"""Fit Atomic Cluster Expansion potentials with Pacemaker under AiiDA."""

__version__ = '0.1.0'

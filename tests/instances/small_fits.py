"""What makes fits with the real engine short."""

#: A section `potential` whose radial splines are ten times coarser than by default: they are made anew for each
#: coefficient at each iteration of `pyace`.
COARSE = {'deltaSplineBins': 0.01}
#: A config of a fit that takes the real engine a few seconds.
SMALL = {
    'elements': ['Mg', 'O'],
    'evaluator': 'pyace',
    'r_cut': 4.5,
    'max_deg': 3,
    'max_order': 2,
    'potential': COARSE,
}

"""What makes fits with the real engine short."""

#: A section `potential` whose radial splines are ten times coarser than by default: they are made anew for each
#: coefficient at each iteration of `pyace`.
COARSE = {'deltaSplineBins': 0.01}

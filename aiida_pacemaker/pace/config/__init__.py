"""The configuration of a fit and the input file that is made of it."""

"""Checks of the inputs of jobs before submission.

A function `check_<subject>` returns what is wrong, in words for the user, or None. A function `validate_<port>` does
the same and is the validator of a port: it takes the value and the port. Neither raises for what a user can get wrong.
The same names are used for ports and processes in `workflows`. In the rooms without AiiDA, checks raise an exception.
"""

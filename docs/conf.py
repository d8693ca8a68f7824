"""Sphinx: `sphinx-build -W --keep-going -n -b html docs docs/_build/html`."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = 'aiida-pacemaker'
author = 'The aiida-pacemaker developers'
release = version_of('aiida-pacemaker')

extensions = ['myst_parser']
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = f'aiida-pacemaker {release}'

# Headings can be linked to as they can be where the files are read on GitHub.
myst_heading_anchors = 3
# Formulas between $$, as GitHub shows them.
myst_enable_extensions = ['dollarmath']

"""What is used of AiiDA and plumpy that they do not call public, each use with its reason.

Public is what can be imported from `aiida` or from a package directly below it, and what its documentation has plugins
define (`_process_class`, `_validate`, `_hash_ignored_attributes`, `_CLS_NODE_CACHING`). All else may change with any
release, so it stands here: :mod:`.storage` for nodes and their files, :mod:`.processes` for the engine. No other module
of the package uses such names; `tests/test_private_names.py` checks it.
"""

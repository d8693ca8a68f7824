"""Asked of the Python that an engine may be installed in, whatever its version: what it has.

Nothing is imported, which would take seconds and run what others have installed. It is sent as text over the transport
of a computer (`python -c`), and says its answer in one line of JSON.
"""

import contextlib
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

# Not what lies about in the folder that the shell begins in.
sys.path = [folder for folder in sys.path if folder]
versions = {}
for name in ('python-ace', 'pyace', 'pacemaker', 'numpy', 'pandas', 'ase', 'tensorflow', 'tensorpotential'):
    with contextlib.suppress(PackageNotFoundError):
        versions[name] = str(version(name))
spec = find_spec('pyace')
folders = list(spec.submodule_search_locations or []) if spec else []
# Its compiled part tells the engine from other packages of the same name.
engine = any(list(Path(folder).glob('basis*.so')) for folder in folders)
answer = {
    'python': platform.python_version(),
    'engine': engine,
    'tensorflow': find_spec('tensorflow') is not None,
    'versions': versions,
}
print(json.dumps(answer))

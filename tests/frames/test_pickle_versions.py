import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / 'benchmarks' / 'pickle_across_versions.py'
NO_INDEX = 75


@pytest.mark.slow
def test_old_and_new_pandas_load_the_same_values():
    """Reads our pickle in fresh environments with pandas 2.0 and 3.1, whatever is installed here."""
    process = subprocess.run([sys.executable, BENCHMARK, '--no-times'], capture_output=True, text=True, check=False)
    if process.returncode == NO_INDEX:
        pytest.skip(f'pip cannot install the versions to compare: {process.stderr.strip().splitlines()[-1]}')
    assert process.returncode == 0, process.stdout + process.stderr
    ours = next(line for line in process.stdout.splitlines() if line.startswith('| aiida-pacemaker'))
    assert ours.count('all values equal') == 2

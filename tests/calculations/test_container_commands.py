"""What the submit script of a job says when its program is in a container."""

from __future__ import annotations

import shlex

import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory

IMAGE = 'docker://example.org/pace:0.4.0rc1'
ENGINE = 'singularity exec --bind $PWD:$PWD {image_name}'


@pytest.fixture
def container(aiida_computer_local):
    """Return a function that makes the code of a program that is in the search path of an image."""
    computer = aiida_computer_local()
    # Not the code but the computer decides how the words before the program are quoted.
    computer.set_use_double_quotes(True)

    def make(program):
        code = orm.ContainerizedCode(
            label=program,
            computer=computer,
            filepath_executable=program,
            image_name=IMAGE,
            engine_command=ENGINE,
        )
        return code.store()

    return make


@pytest.fixture
def script_of():
    """Return a function that returns the submit script of a job, as it would be sent."""

    def make(entry_point, **inputs):
        process = instantiate_process(get_manager().get_runner(), CalculationFactory(entry_point), **inputs)
        with SandboxFolder() as folder:
            process.presubmit(folder)
            with folder.open('_aiidasubmit.sh') as script:
                return script.read()

    return make


def container_call(script, program):
    """Return the words of the line that runs a program in the container, as the shell reads it."""
    (line,) = (line for line in script.splitlines() if f"'{program}'" in line)
    words = shlex.split(line)
    # Between single quotes, `$PWD` would be the name of a folder.
    assert '"$PWD:$PWD"' in line
    assert words[:6] == ['singularity', 'exec', '--bind', '$PWD:$PWD', IMAGE, program]
    return words[6:]


def test_training(container, script_of, train_inputs):
    script = script_of(
        'pacemaker.train', code=container('pacemaker'), yace_code=container('pace_yaml2yace'), **train_inputs()
    )
    words = container_call(script, 'pacemaker')
    assert words[0] == 'input.yaml'
    assert words[-4:] == ['>', 'stdout.txt', '2>', 'stderr.txt']
    assert container_call(script, 'pace_yaml2yace')[0] == 'output_potential.yaml'
    assert script.index('pacemaker') < script.index('pace_yaml2yace')


def test_evaluation(container, script_of, recorded_potential, dataset):
    script = script_of(
        'pacemaker.evaluate', code=container('python'), potential=recorded_potential, datasets={'x': dataset}
    )
    words = container_call(script, 'python')
    assert words[0] == 'evaluate.py'
    assert words[-4:] == ['>', 'stdout.txt', '2>', 'stderr.txt']


def test_without_double_quotes_nothing_is_bound(container, script_of, train_inputs):
    """What the documentation tells users to set on the computer is needed: else the folder is called `$PWD`."""
    code = container('pacemaker')
    code.computer.set_use_double_quotes(False)
    assert "'$PWD:$PWD'" in script_of('pacemaker.train', code=code, **train_inputs())

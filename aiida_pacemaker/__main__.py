"""`python -m aiida_pacemaker` is the command `aiida-pacemaker`."""

from aiida_pacemaker.cli import main

if __name__ == '__main__':
    main(prog_name='aiida-pacemaker')

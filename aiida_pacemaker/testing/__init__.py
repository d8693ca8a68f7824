"""A small fake engine, and fixtures for tests of workflows that fit potentials.

Where python-ace is installed, let your tests run it: it is fast enough on small data. Where it is not, as in the CI of
a package that only builds on this one, or where something has to go wrong at a certain moment, there is a fake one::

    python -m aiida_pacemaker.testing.fake.install FOLDER

writes executables ``pacemaker``, ``pace_activeset``, ``pace_select``, ``pace_yaml2yace`` and ``python`` into a folder.
They accept the command lines of the real programs, check their input as these do, and leave the same files behind, in
well under a second and without pandas. Equal inputs give equal outputs, apart from times.

The physics is that of a pair potential (:mod:`.physics`): a fit is a true least-squares fit, its loss shrinks
geometrically, and one that is continued goes on where the last one stopped. Active sets, gamma and selections follow
their real definitions on these pair functions, so that a loop of active learning makes progress and comes to an end.
Functions of the second order are in the potential and are counted, but their coefficients stay zero; those of higher
orders are left out. The files of potentials can be read by the real engine, which computes something else from them.
There are no weights, no queries, no batches and no dialogs; all else that the input says is ignored, as by the real
programs.

What can go wrong on demand is told in :mod:`.faults`. An environment variable turns a fault on, for a job for instance
by the ``prepend_text`` of a code or of the options of a calculation::

    export PACE_FAKE_FAULT=kill_at_iteration:n=4,times=1 PACE_FAKE_STATE=/tmp/state

For pytest, ``pytest_plugins = ['aiida_pacemaker.testing.fixtures']`` in the ``conftest.py`` gives the fixtures
``fake_engine``, ``pace_codes_fake`` and ``pace_codes`` (:mod:`.fixtures`).
"""

"""All that is said of nodes holds wherever the repository keeps their files."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.manage import get_manager


@pytest.fixture(autouse=True, params=['loose', 'packed', 'compressed'])
def maintenance(request, aiida_profile, monkeypatch):
    """Let the storage be maintained after each node that is stored, as `verdi storage maintain` does it."""
    if request.param == 'loose':
        return

    original = orm.Node.store

    def store(self):
        stored = original(self)
        with get_manager().get_profile_storage().get_repository()._container as container:
            container.pack_all_loose(compress=request.param == 'compressed')
            container.clean_storage()
        return stored

    monkeypatch.setattr(orm.Node, 'store', store)

"""Entries of frames that could not be labelled."""

from __future__ import annotations

import pytest

from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.label_failures import failure_entries


def test_each_frame_has_an_entry(mgo_frames):
    failed = mgo_frames.select([7, 3])
    entries = failure_entries(failed, [('killed', 'out of time'), ('not_periodic', 'no cell')])
    assert [entry['hash'] for entry in entries] == [hex_hashes(frame_hashes(mgo_frames))[frame] for frame in (7, 3)]
    assert [(entry['reason'], entry['message']) for entry in entries] == [
        ('killed', 'out of time'),
        ('not_periodic', 'no cell'),
    ]
    assert [(entry['source'], entry['step']) for entry in entries] == [
        (mgo_frames.source_of(frame), int(mgo_frames.step[frame])) for frame in (7, 3)
    ]


def test_no_frame_has_failed(mgo_frames):
    assert failure_entries(mgo_frames.select([]), []) == []


def test_a_frame_without_a_reason_is_an_error(mgo_frames):
    with pytest.raises(ValueError, match='zip'):
        failure_entries(mgo_frames.select([0, 1]), [('killed', 'out of time')])

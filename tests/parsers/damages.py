"""What can become of a file of a job, and what has to become of the job then."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = ('empty', 'cut', 'end only', 'flipped', 'binary')


def damage(content: bytes, kind: str) -> bytes:
    """Return what a file has become by one kind of damage."""
    half = len(content) // 2
    flipped = bytearray(content)
    for position in np.random.default_rng(zlib.crc32(content)).integers(0, len(content) or 1, 20 if content else 0):
        flipped[position] ^= 0xFF
    return {
        'empty': b'',
        'cut': content[:half],
        'end only': content[half:],
        'flipped': bytes(flipped),
        'binary': bytes(range(256)) * 8,
    }[kind]


@dataclass(frozen=True)
class Ending:
    """How a job has to end of which one file is damaged. What is not said of its outputs is as without the damage.

    :param label: label of the exit code.
    :param says: what the message of the exit code has to name: the file, or what is made of it.
    :param warns: what the log of the parser has to name.
    :param without: outputs that must not be there.
    :param other: outputs that may be others than without the damage, or there are only with it.
    """

    label: str
    says: str = ''
    warns: str = ''
    without: Collection[str] = ()
    other: Collection[str] = ()


def check(parsed: Any, whole: Any, ending: Ending) -> None:
    """Check how a job with a damaged file has ended; that all outputs can be stored was seen by the fixture.

    :param parsed: what the parser made of it.
    :param whole: what it made of the same files without damage.
    :raises AssertionError: if its exit code, message, warnings or outputs are others than they have to be.
    """
    assert parsed.label == ending.label, parsed.code.message
    # Success has nothing to say, and no failure is without a reason.
    assert (parsed.code.message is None) == (ending.label == 'OK')
    message = parsed.code.message or ''
    assert ending.says in message
    assert bool(ending.says) == (ending.label != 'OK'), 'a failure has to name what is damaged'
    assert '{{' not in message
    assert ending.warns in parsed.log
    found, expected = contents(parsed.outputs), contents(whole.outputs)
    assert set(ending.without) <= set(expected), 'what must not be there has to be there without the damage'
    assert not set(ending.without) & set(found)
    same = set(expected) - set(ending.without) - set(ending.other)
    assert {name: found.get(name) for name in same} == {name: expected[name] for name in same}
    assert set(found) <= set(expected) | set(ending.other)


def contents(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of outputs by their names, in namespaces with a dot: attributes, and checksums of files.

    Attributes that the cache ignores differ between equal outputs: they have the UUIDs of the inputs.
    """
    found: dict[str, Any] = {}
    for name, node in outputs.items():
        if isinstance(node, dict):
            found |= {f'{name}.{label}': value for label, value in contents(node).items()}
            continue
        # Numbers that are not finite would not be equal to themselves, nor could they be stored.
        ignored = node._hash_ignored_attributes
        attributes = {key: value for key, value in node.base.attributes.all.items() if key not in ignored}
        text = json.dumps(attributes, allow_nan=False, sort_keys=True)
        found[name] = node.node_type, text, node.base.repository.serialize()
    return found


def remembered(results: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    """Return what was made for a key, which is made once."""
    if key not in results:
        results[key] = make()
    return results[key]

"""What a set of structures is: columns, checks, content hashes, shards, import and export. Plain Python, no AiiDA."""

from .checks import Reason, Refusal, check, enforce
from .hashing import frame_hashes, hex_hashes
from .merging import Deduplication, deduplicate
from .neighbours import Pairs, pair_blocks, pairs
from .shards import read_shard, write_shard
from .splitting import filter_by, split
from .table import Frames

__all__ = [
    'Deduplication',
    'Frames',
    'Pairs',
    'Reason',
    'Refusal',
    'check',
    'deduplicate',
    'enforce',
    'filter_by',
    'frame_hashes',
    'hex_hashes',
    'pair_blocks',
    'pairs',
    'read_shard',
    'split',
    'write_shard',
]

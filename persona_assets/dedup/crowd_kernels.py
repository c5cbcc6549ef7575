"""Compiled passes that find the rarest shingles of each member of a crowd."""

from typing import Any

import numpy as np

from persona_assets.dedup.set_kernels import Sets

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


def count_members(sets: Sets, rows: Any, numbers: Any, met: Any, frequency: Any) -> int:
    """Count in how many of the sets of `rows` each shingle is; return how many shingles there are.

    Shingles are renumbered in the order of meeting: `numbers[shingle]` (-1 before), `met[number]`.
    """
    count = 0
    for row in rows:
        for at in range(sets.starts[row], sets.starts[row + 1]):
            shingle = sets.ids[at]
            if numbers[shingle] < 0:
                numbers[shingle] = count
                met[count] = shingle
                frequency[count] = 0
                count += 1
            frequency[numbers[shingle]] += 1
    return count


def rarest(sets: Sets, rows: Any, numbers: Any, frequency: Any, starts: Any, out: Any) -> None:
    """Write the rarest shingles of each row's set, rarest first, to `out[starts[k]:starts[k + 1]]`."""
    keys = np.empty(0, np.uint64)
    for k in range(len(rows)):
        first = sets.starts[rows[k]]
        size = sets.starts[rows[k] + 1] - first
        if size > len(keys):
            keys = np.empty(2 * size, np.uint64)
        for at in range(size):
            number = numbers[sets.ids[first + at]]
            keys[at] = (np.uint64(frequency[number]) << _HALF) | np.uint64(number)
        keys[:size].sort()
        for at in range(starts[k + 1] - starts[k]):
            out[starts[k] + at] = np.int32(keys[at] & _LOW)


def count_entries(prefixes: Any, starts: Any, entered: Any, counts: Any) -> None:
    """Add to `counts[shingle]` the members that are entered under it."""
    for k in range(len(entered)):
        for at in range(starts[k], starts[k] + entered[k]):
            counts[prefixes[at]] += 1

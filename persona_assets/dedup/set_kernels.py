"""Compiled passes over sets of shingle numbers: making, sorting and grouping them."""
# numba takes plain loops.
# ruff: noqa: SIM110

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_SPREAD = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(32)


class Sets(NamedTuple):
    """Sets of shingle numbers: set s is `ids[starts[s]:starts[s + 1]]`, sorted; int32 and int64."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]


def _spread(value: Any) -> Any:
    mixed = (np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)) * _SPREAD
    return (mixed ^ (mixed >> _HALF)) * np.uint64(0xC4CEB9FE1A85EC53)


def distinct(found: Any, ends: Any, stamps: Any, first_row: int, ids: Any, stops: Any, set_hashes: Any) -> int:
    """Write each row's distinct numbers to `ids`; return how many in all.

    `stamps[number]` is the last row in which the number was met; `set_hashes` does not depend on order.
    """
    at, written = 0, 0
    for row in range(len(ends)):
        total = np.uint64(0)
        while at < ends[row]:
            number = found[at]
            at += 1
            if stamps[number] != first_row + row:
                stamps[number] = first_row + row
                ids[written] = number
                total += _spread(number)
                written += 1
        stops[row] = written
        set_hashes[row] = total
    return written


def sort_rows(ids: Any, stops: Any, numbers: int) -> None:
    """Sort the ids of each row, all below `numbers`, by turning rows into columns and back.

    Two passes over everything, where sorting forty ids at a time takes several times as long.
    """
    begins = np.zeros(numbers + 1, np.int64)
    for at in range(stops[-1]):
        begins[ids[at] + 1] += 1
    for number in range(numbers):
        begins[number + 1] += begins[number]
    rows = np.empty(stops[-1], np.int32)
    at = 0
    for row in range(len(stops)):
        while at < stops[row]:
            rows[begins[ids[at]]] = row
            begins[ids[at]] += 1
            at += 1
    ends = np.zeros(len(stops), np.int64)
    ends[1:] = stops[:-1]
    at = 0
    for number in range(numbers):
        while at < begins[number]:
            ids[ends[rows[at]]] = number
            ends[rows[at]] += 1
            at += 1


def equal_sets(sets: Sets, keys: Any, row_bits: int, first: Any) -> None:
    """Write to `first[row]` the first row that has the same set.

    `keys` are sorted; each holds a row in its low `row_bits` bits and a hash of its set above.
    """
    mask = (np.uint64(1) << np.uint64(row_bits)) - np.uint64(1)
    start = 0
    for at in range(len(keys)):
        if keys[at] >> np.uint64(row_bits) != keys[start] >> np.uint64(row_bits):
            start = at
        row = np.int64(keys[at] & mask)
        first[row] = row
        for earlier in range(start, at):
            other = np.int64(keys[earlier] & mask)
            if first[other] == other and _same(sets, row, other):
                first[row] = other
                break


def _same(sets: Sets, one: Any, other: Any) -> bool:
    begin, start = sets.starts[one], sets.starts[other]
    size = sets.starts[one + 1] - begin
    if size != sets.starts[other + 1] - start:
        return False
    for k in range(size):
        if sets.ids[begin + k] != sets.ids[start + k]:
            return False
    return True

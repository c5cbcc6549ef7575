"""Compiled passes over sets of shingle numbers: distinct, equal sets, verified pairs."""
# numba takes positional arguments and plain loops.
# ruff: noqa: SIM110

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BITMAP_WORDS = 4
_SPREAD = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


class Sets(NamedTuple):
    """Sets of shingle numbers: set s is `ids[starts[s]:starts[s + 1]]`, sorted; int32 and int64."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]


class Pairs(NamedTuple):
    """Room for verified pairs: int32, int32, float64."""

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    similarity: NDArray[np.float64]


class Walk(NamedTuple):
    """Where a walk stands.

    Attributes:
        start: Where the bucket begins in the keys.
        place: Members of it that are done.
        leaders: Of those, the ones that later members are compared with.
        written: Pairs written.
        verified: Pairs whose sets were intersected.
        crowded: Buckets that were crowds.
    """

    start: int
    place: int
    leaders: int
    written: int
    verified: int
    crowded: int


class Limits(NamedTuple):
    """What a walk looks for.

    Attributes:
        floor: Least similarity of a pair that is written.
        threshold: Similarity of duplicates.
        crowd: In a bucket of more members than this, one that is a duplicate of an earlier member is
            compared with no later one: a boilerplate text in many variants costs its size times its
            leaders, not its square.
    """

    floor: float
    threshold: float
    crowd: int


class Leaders(NamedTuple):
    """Scratch for the members of one bucket: their sets, sizes and bitmaps side by side."""

    member: NDArray[np.int64]
    size: NDArray[np.int64]
    bitmap: NDArray[np.uint64]


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


def _ones(word: Any) -> Any:
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


def _shared(sets: Sets, one: Any, other: Any, needed: Any) -> int:
    """Size of the intersection, or -1 as soon as it cannot reach `needed`."""
    i, stop_i = sets.starts[one], sets.starts[one + 1]
    j, stop_j = sets.starts[other], sets.starts[other + 1]
    shared = 0
    while i < stop_i and j < stop_j:
        if shared + min(stop_i - i, stop_j - j) < needed:
            return -1
        low, high = sets.ids[i], sets.ids[j]
        shared += low == high
        i += low <= high
        j += high <= low
    return shared


def _met_before(bands: Any, band_number: int, one: Any, other: Any) -> bool:
    for k in range(band_number):
        if bands[one, k] == bands[other, k]:
            return True
    return False


def _jaccard(sets: Sets, one: Any, other: Any, bound: Any) -> Any:
    """Similarity of two sets, or -1 where they differ in more than `bound` numbers."""
    both = sets.starts[one + 1] - sets.starts[one] + sets.starts[other + 1] - sets.starts[other]
    shared = _shared(sets, one, other, (both - bound + 1) // 2)
    return shared / (both - shared) if shared >= 0 else -1.0


def _differing_bits(one: Any, other: Any) -> int:
    bits = 0
    for word in range(BITMAP_WORDS):
        bits += _ones(one[word] ^ other[word])
    return bits


def walk(
    sets: Sets,
    rows: Any,
    bands: Any,
    bitmap: Any,
    keys: Any,
    band_number: int,
    limits: Limits,
    leaders: Leaders,
    pairs: Pairs,
    walked: Walk,
) -> Walk:
    """Verify all pairs within the buckets of one band, and write those at or above the floor to `pairs`.

    A bucket is a run of `keys` (sorted; a place in `rows` in the low 32 bits, the band's hash above).
    Pairs that share an earlier band are left to it. Every rejection is exact: by the bitmaps, which
    bound how alike two sets can be, or by the intersection itself.

    Returns:
        Where the walk stands; its start is `len(keys)` when it is done, else there was no more room.
    """
    spread = (1.0 - limits.floor) / (1.0 + limits.floor)
    start, place, count, written, verified, crowded = walked
    # Taken out of the tuple once: numba counts references at each access.
    sizes, leader_bits = leaders.size, leaders.bitmap
    while start < len(keys):
        stop = start + 1
        while stop < len(keys) and keys[stop] >> _HALF == keys[start] >> _HALF:
            stop += 1
        crowd = stop - start > limits.crowd
        for at in range(start + place, stop if stop - start > 1 else start):
            if written + count > len(pairs.left):
                return Walk(start, at - start, count, written, verified, crowded)
            one = np.int64(keys[at] & _LOW)
            size = sets.starts[rows[one] + 1] - sets.starts[rows[one]]
            bits = bitmap[one]
            follows = False
            for k in range(count):
                bound = np.int64((size + sizes[k]) * spread + 1e-9)
                if _differing_bits(leader_bits[k], bits) > bound or abs(size - sizes[k]) > bound:
                    continue
                other = leaders.member[k]
                met = _met_before(bands, band_number, other, one)
                if met and not crowd:
                    continue
                similarity = _jaccard(sets, rows[other], rows[one], bound)
                follows = follows or (crowd and similarity >= limits.threshold)
                verified += not met
                if similarity >= limits.floor and not met:
                    pairs.left[written] = other
                    pairs.right[written] = one
                    pairs.similarity[written] = similarity
                    written += 1
            if not follows:
                leaders.member[count] = one
                leaders.size[count] = size
                leaders.bitmap[count] = bitmap[one]
                count += 1
        crowded += crowd
        start, place, count = stop, 0, 0
    return Walk(start, 0, 0, written, verified, crowded)

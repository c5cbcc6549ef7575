"""Buckets with too many members to compare every two: boilerplate in thousands of variants.

The members of a crowd share a template, so their rarest shingles tell the duplicates among them apart.
"Rare" is counted within the crowd: the words of a template may be rare elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup import crowd_kernels as counting
from persona_assets.dedup import pair_kernels as kernels
from persona_assets.dedup import pair_records as records
from persona_assets.dedup.compiled import compiled
from persona_assets.dedup.edges import LISTED

_FIRST_ROOM = 1 << 16


@dataclass(frozen=True)
class CrowdPairs:
    """Pairs of one crowd at or above a threshold, and what finding them took.

    Attributes:
        pairs: The pairs that share no earlier band.
        compared: Pairs whose sets were intersected.
        complete: Whether all are listed. Where there are too many, each member is listed with its
            leaders alone: earlier members that are unlike each other.
    """

    pairs: records.Pairs
    compared: int
    complete: bool


def crowd_pairs(
    indexed: records.Indexed, shingles: int, number: int, members: NDArray[np.int64], threshold: float, most: int
) -> CrowdPairs:
    """Compare the members of a crowd met in band `number`; list all pairs unless there are over `most`.

    `members` are ascending places; `shingles` is the size of the vocabulary. The members of a crowd
    that is not listed in full become `dense`, which is what most of it may have been before.
    """
    most = max(most, LISTED * len(members))
    if 2 * np.count_nonzero(indexed.dense[members]) >= len(members):
        return _led(indexed, number, members, threshold)
    postings = _postings(indexed, shingles, members, threshold)

    def join(pairs: records.Pairs, walked: records.Walk) -> records.Walk:
        return records.Walk(*compiled(kernels.join)(indexed, number, postings, threshold, most, pairs, walked))

    pairs, joined = _filled(join, len(members), most)
    if joined.place == len(members):
        return CrowdPairs(pairs, joined.compared, True)
    led = _led(indexed, number, members, threshold)
    return CrowdPairs(led.pairs, joined.compared + led.compared, False)


def _led(indexed: records.Indexed, number: int, members: NDArray[np.int64], threshold: float) -> CrowdPairs:
    leaders = bucket_for(len(members))

    def lead(pairs: records.Pairs, walked: records.Walk) -> records.Walk:
        return records.Walk(*compiled(kernels.lead)(indexed, number, members, threshold, leaders, pairs, walked))

    pairs, led = _filled(lead, len(members), None)
    indexed.dense[members] = 1
    return CrowdPairs(pairs, led.compared, False)


def bucket_for(members: int) -> records.Bucket:
    """Make scratch for a bucket of so many members."""
    return records.Bucket(
        np.empty(members, np.int64), np.empty((kernels.BITMAP_WORDS, members), np.uint64), np.empty(members, np.int64)
    )


def room_for(count: int) -> records.Pairs:
    """Make room for pairs."""
    return records.Pairs(np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.float64))


def moved(pairs: records.Pairs, count: int, *, room: int) -> records.Pairs:
    """Copy the first pairs to other room."""
    other = room_for(room)
    other.left[:count] = pairs.left[:count]
    other.right[:count] = pairs.right[:count]
    other.similarity[:count] = pairs.similarity[:count]
    return other


def _filled(
    step: Callable[[records.Pairs, records.Walk], records.Walk], members: int, most: int | None
) -> tuple[records.Pairs, records.Walk]:
    """Repeat a step in more and more room, until it is through with all members or has too many pairs."""
    pairs, walked = room_for(_FIRST_ROOM + members), records.Walk(0, 0, 0, 0)
    while True:
        walked = step(pairs, walked)
        if walked.place == members or (most is not None and walked.written > most):
            return moved(pairs, walked.written, room=walked.written), walked
        pairs = moved(pairs, walked.written, room=2 * len(pairs.left))


def _postings(
    indexed: records.Indexed, shingles: int, members: NDArray[np.int64], threshold: float
) -> records.Postings:
    sizes = indexed.sizes[members].astype(np.int64)
    order = np.argsort(sizes, kind="stable")
    members, sizes = members[order], sizes[order]
    rows = indexed.rows[members]
    # A partner has at least threshold * size shingles and shares as many; a larger one shares more.
    looked_up = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    entered = sizes - np.ceil(2 * threshold / (1 + threshold) * sizes - 1e-9).astype(np.int64) + 1
    starts = np.append(0, np.cumsum(looked_up))
    numbers = np.full(shingles, -1, np.int32)
    met, frequency = np.empty((2, shingles), np.int32)
    count = compiled(counting.count_members)(indexed.sets, rows, numbers, met, frequency)
    prefixes = np.empty(starts[-1], np.int32)
    compiled(counting.rarest)(indexed.sets, rows, numbers, frequency, starts, prefixes)
    entries = np.zeros(count, np.int64)
    compiled(counting.count_entries)(prefixes, starts, entered, entries)
    begins = np.cumsum(entries) - entries
    return records.Postings(
        members=members,
        sizes=sizes,
        prefixes=prefixes,
        starts=starts,
        entered=entered,
        begins=begins,
        ends=begins.copy(),
        lists=np.empty(int(entries.sum()), np.int32),
        stamps=np.full(len(members), -1, np.int64),
    )

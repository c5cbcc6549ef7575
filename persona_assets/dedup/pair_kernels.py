"""Compiled search for the pairs of one band: all pairs of a small bucket, and two ways through a crowd."""
# numba takes positional arguments and plain loops.
# ruff: noqa: SIM110, C901

from typing import Any

import numpy as np

from persona_assets.dedup.pair_records import Bucket, Indexed, Pairs, Postings, Walk
from persona_assets.dedup.set_kernels import Sets

BITMAP_WORDS = 4
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_STRIP = 64
_MOST_BITS = 64 * BITMAP_WORDS
_FIXED = 1 << 16  # bits are counted in 65536ths, so that the processor compares whole numbers


def _ones(word: Any) -> Any:
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


def _jaccard(sets: Sets, one: Any, other: Any, bound: Any) -> Any:
    """Similarity of two sets, or -1 where they differ in more than `bound` numbers."""
    i, stop_i = sets.starts[one], sets.starts[one + 1]
    j, stop_j = sets.starts[other], sets.starts[other + 1]
    both = stop_i - i + stop_j - j
    needed = (both - bound + 1) // 2
    shared = 0
    while i < stop_i and j < stop_j:
        if shared + min(stop_i - i, stop_j - j) < needed:
            return -1.0
        low, high = sets.ids[i], sets.ids[j]
        shared += low == high
        i += low <= high
        j += high <= low
    return shared / (both - shared) if shared >= needed else -1.0


def _similarity(indexed: Indexed, one: Any, other: Any, spread: Any) -> Any:
    """Similarity of two sets, -1 where it is below the floor, -2 where their sizes tell so."""
    size, size_of_other = np.int64(indexed.sizes[one]), np.int64(indexed.sizes[other])
    bound = np.int64((size + size_of_other) * spread + 1e-9)
    if abs(size - size_of_other) > bound:
        return -2.0
    return _jaccard(indexed.sets, indexed.rows[one], indexed.rows[other], bound)


def _differ(bitmaps: Any, one: Any, other: Any) -> int:
    bits = 0
    for word in range(BITMAP_WORDS):
        bits += _ones(bitmaps[one, word] ^ bitmaps[other, word])
    return bits


def _met_before(bands: Any, band_number: int, one: Any, other: Any) -> bool:
    for k in range(band_number):
        if bands[k, one] == bands[k, other]:
            return True
    return False


def _spread(floor: float) -> float:
    """Share of the sizes of two sets in which they may differ at a similarity of `floor`."""
    return (1.0 - floor) / (1.0 + floor)


def _enter(indexed: Indexed, bucket: Bucket, at: int, place: Any, spread: Any) -> None:
    bucket.member[at] = place
    for word in range(BITMAP_WORDS):
        bucket.words[word, at] = indexed.bitmaps[place, word]
    share = min(indexed.sizes[place] * spread, _MOST_BITS)
    bucket.reach[at] = np.int64(share * _FIXED) + 1


def _any_near(words: Any, reaches: Any, first: int, last: int, at: int) -> Any:
    """Whether half of a member's bitmap is near to any of several; many at a time, without branches."""
    one, other, reach = words[0, at], words[1, at], reaches[at]
    near = np.int64(0)
    # Unsigned, as a negative index would count from the end, which the processor cannot do many at a time.
    for k in range(np.uint64(first), np.uint64(last)):
        bits = _ones(words[0, k] ^ one) + _ones(words[1, k] ^ other)
        near |= np.int64(bits * _FIXED <= reach + reaches[k])
    return near


def _near(words: Any, reaches: Any, k: int, at: int) -> Any:
    bits = 0
    for word in range(BITMAP_WORDS):
        bits += _ones(words[word, k] ^ words[word, at])
    return bits * _FIXED <= reaches[at] + reaches[k]


def _compare(
    indexed: Indexed,
    number: int,
    bucket: Bucket,
    first: int,
    last: int,
    at: int,
    floor: float,
    pairs: Pairs,
    written: int,
) -> tuple[int, int]:
    """Verify a member of a bucket with some before it; return the new end of `pairs` and how many were met."""
    spread, one, compared = _spread(floor), bucket.member[at], 0
    for k in range(first, last):
        if not _near(bucket.words, bucket.reach, k, at):
            continue
        other = bucket.member[k]
        if indexed.dense[one] & indexed.dense[other]:
            continue
        similarity = _similarity(indexed, other, one, spread)
        compared += similarity >= -1.0
        if similarity >= floor and not _met_before(indexed.bands, number, other, one):
            pairs.left[written], pairs.right[written] = other, one
            pairs.similarity[written] = similarity
            written += 1
    return written, compared


def walk(indexed: Indexed, number: int, keys: Any, floor: float, bucket: Bucket, pairs: Pairs, walked: Walk) -> Walk:
    """Verify all pairs within the buckets of one band, and write those at or above the floor to `pairs`.

    A bucket is a run of `keys` (sorted; a place in the low 32 bits, the band's hash above). Pairs that
    share an earlier band are left to it. Every rejection is exact: by the bitmaps, which bound how
    alike two sets can be, or by the intersection itself. Buckets of more members than there is room for
    in `bucket` are passed over. Stops where `pairs` may not suffice.
    """
    spread = _spread(floor)
    start, place, written, compared = walked
    # Taken out of the tuple once: numba counts references at each access.
    words, reaches, room = bucket.words, bucket.reach, len(pairs.left)
    while start < len(keys):
        stop = start + 1
        while stop < len(keys) and keys[stop] >> _HALF == keys[start] >> _HALF:
            stop += 1
        if stop - start > len(reaches):
            start = stop
            continue
        for at in range(start if stop - start > 1 else stop, stop):
            _enter(indexed, bucket, at - start, np.int64(keys[at] & _LOW), spread)
        for at in range(place, stop - start):
            if written + at > room:
                return Walk(start, at, written, compared)
            for first in range(0, at, _STRIP):
                last = min(first + _STRIP, at)
                if _any_near(words, reaches, first, last, at):
                    written, met = _compare(indexed, number, bucket, first, last, at, floor, pairs, written)
                    compared += met
        start, place = stop, 0
    return Walk(start, 0, written, compared)


def join(
    indexed: Indexed, number: int, postings: Postings, threshold: float, most: int, pairs: Pairs, walked: Walk
) -> Walk:
    """Find all pairs of a crowd at or above the threshold by the rarest shingles of its members.

    Members come from small to large sets. Each is compared with those before it that are entered under
    one of its own rarest shingles, which are all that can reach the threshold (Xiao et al., "Efficient
    Similarity Joins for Near Duplicate Detection", 2008). Stops where `pairs` may not suffice, and for
    good after `most` pairs.
    """
    spread = _spread(threshold)
    _, place, written, compared = walked
    members, sizes, prefixes, starts = postings.members, postings.sizes, postings.prefixes, postings.starts
    entered, begins, ends = postings.entered, postings.begins, postings.ends
    lists, stamps, dense = postings.lists, postings.stamps, indexed.dense
    bands, bitmaps = indexed.bands, indexed.bitmaps
    for at in range(place, len(members)):
        if written + at > len(pairs.left) or written > most:
            return Walk(0, at, written, compared)
        one, least = members[at], threshold * sizes[at] - 1e-9
        for spot in range(starts[at], starts[at + 1]):
            shingle = prefixes[spot]
            while begins[shingle] < ends[shingle] and sizes[lists[begins[shingle]]] < least:
                begins[shingle] += 1
            for entry in range(begins[shingle], ends[shingle]):
                earlier = lists[entry]
                if stamps[earlier] == at:
                    continue
                stamps[earlier] = at
                other = members[earlier]
                bound = (sizes[at] + sizes[earlier]) * spread + 1e-9
                if dense[one] & dense[other] or _differ(bitmaps, one, other) > bound:
                    continue
                if _met_before(bands, number, one, other):
                    continue
                similarity = _similarity(indexed, one, other, spread)
                compared += 1
                if similarity >= threshold:
                    pairs.left[written], pairs.right[written] = min(one, other), max(one, other)
                    pairs.similarity[written] = similarity
                    written += 1
        for spot in range(starts[at], starts[at] + entered[at]):
            lists[ends[prefixes[spot]]] = at
            ends[prefixes[spot]] += 1
    return Walk(0, len(members), written, compared)


def lead(
    indexed: Indexed, number: int, members: Any, threshold: float, leaders: Bucket, pairs: Pairs, walked: Walk
) -> Walk:
    """Compare the members of a crowd, in their order, with its leaders: those that duplicate no leader.

    Writes pairs of a leader and another member at or above the threshold. The walk's `start` counts
    the leaders.
    """
    spread = _spread(threshold)
    count, place, written, compared = walked
    words, reaches = leaders.words, leaders.reach
    for at in range(place, len(members)):
        if written + count > len(pairs.left):
            return Walk(count, at, written, compared)
        one = members[at]
        _enter(indexed, leaders, count, one, spread)
        follows = False
        for k in range(count):
            if not _near(words, reaches, k, count):
                continue
            leader = leaders.member[k]
            similarity = _similarity(indexed, leader, one, spread)
            compared += similarity >= -1.0
            if similarity >= threshold:
                follows = True
                if not _met_before(indexed.bands, number, leader, one):
                    pairs.left[written], pairs.right[written] = leader, one
                    pairs.similarity[written] = similarity
                    written += 1
        count += not follows
    return Walk(count, len(members), written, compared)

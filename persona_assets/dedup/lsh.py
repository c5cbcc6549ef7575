"""Locality-sensitive hashing: signatures, their bands, and the verified pairs of each band's buckets."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup import pair_kernels as kernels
from persona_assets.dedup import pair_records as records
from persona_assets.dedup import signature_kernels as signing
from persona_assets.dedup.compiled import compiled
from persona_assets.dedup.crowds import bucket_for, crowd_pairs, moved, room_for
from persona_assets.dedup.sets import ShingleSets

CROWD = 2048
_BLOCK_ROWS = 4096
_FIRST_ROOM = 1 << 16
_LOW = np.uint64(0xFFFFFFFF)
_DATASKETCH_SEED = 1


@dataclass(frozen=True)
class BandIndex:
    """Distinct sets ready for comparison.

    Attributes:
        rows: The row of each set, int64.
        sizes: How many shingles it has, int32.
        bands: Hash of each set's bands, uint32, shape (bands, sets).
        bitmaps: Parity bitmap of each set, uint64, shape (sets, 4).
    """

    rows: NDArray[np.int64]
    sizes: NDArray[np.int32]
    bands: NDArray[np.uint32]
    bitmaps: NDArray[np.uint64]

    def at(self, places: NDArray[np.int64]) -> "BandIndex":
        """Take the sets at these places, in this order."""
        return BandIndex(self.rows[places], self.sizes[places], self.bands[:, places], self.bitmaps[places])


@dataclass(frozen=True)
class VerifiedPairs:
    """Pairs of places in an index at or above the floor, and what finding them took.

    Attributes:
        left: Place of the earlier set.
        right: Place of the later set.
        similarity: Exact Jaccard similarity.
        compared: How often two sets were intersected.
        crowded: Buckets of more members than are compared two by two.
        dense: Places of the sets whose duplicates are too many to list (ascending, see `verified_pairs`).
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float64]
    compared: int
    crowded: int
    dense: NDArray[np.int64]


def sign(corpus: ShingleSets, rows: NDArray[np.int64], permutations: int) -> NDArray[np.uint32]:
    """Compute MinHash signatures of the given rows, shape (rows, permutations)."""
    out = np.empty((len(rows), permutations), np.uint32)
    multipliers, increments = _permutations(permutations)
    hashes = _mixed(corpus.hashes)

    def block(first: int, last: int) -> None:
        compiled(signing.sign)(corpus.sets, rows[first:last], hashes, multipliers, increments, out[first:last])

    _in_blocks(block, len(rows))
    return out


def band_index(
    corpus: ShingleSets, rows: NDArray[np.int64], bands: int, band_rows: int, permutations: int
) -> BandIndex:
    """Hash the bands of the sets of `rows`; signatures are made block by block and not kept."""
    hashed = np.empty((bands, len(rows)), np.uint32)
    bitmaps = np.empty((len(rows), kernels.BITMAP_WORDS), np.uint64)
    multipliers, increments = _permutations(permutations)
    hashes = _mixed(corpus.hashes)

    def block(first: int, last: int) -> None:
        chosen = rows[first:last]
        signatures = np.empty((len(chosen), permutations), np.uint32)
        compiled(signing.sign)(corpus.sets, chosen, hashes, multipliers, increments, signatures)
        compiled(signing.band)(signatures, band_rows, hashed[:, first:last])
        compiled(signing.bitmaps)(corpus.sets, chosen, bitmaps[first:last])

    _in_blocks(block, len(rows))
    sizes = np.diff(corpus.sets.starts)[rows].astype(np.int32)
    return BandIndex(rows, sizes, hashed, bitmaps)


def verified_pairs(
    corpus: ShingleSets, index: BandIndex, *, floor: float, threshold: float, crowd: int = CROWD
) -> VerifiedPairs:
    """Walk the buckets of every band and intersect the sets that meet there; list each pair once.

    Sets without shingles meet nobody. In a bucket of more than `crowd` sets, pairs are listed from the
    threshold on, not from the floor; where even those are more than `crowd` sets can have, or `LISTED`
    a member, its sets are reported as `dense` and each is listed with some of its duplicates.
    """
    bands = range(index.bands.shape[0])
    dense = np.zeros(len(index.rows), np.uint8)

    def in_band(number: int) -> _Band:
        return _in_band(corpus, index, number, dense, floor, threshold, crowd)

    results = [in_band(0)]
    # One by one while sets turn out to be dense, so that later bands are spared them, always the same.
    while len(results[-1].dense) and len(results) < len(bands):
        dense[results[-1].dense] = 1
        results.append(in_band(len(results)))
    with ThreadPoolExecutor(_workers()) as pool:
        results += list(pool.map(in_band, bands[len(results) :]))
    pairs = [some for band in results for some in band.pairs]
    return VerifiedPairs(
        np.concatenate([some.left for some in pairs]).astype(np.int64),
        np.concatenate([some.right for some in pairs]).astype(np.int64),
        np.concatenate([some.similarity for some in pairs]),
        compared=sum(band.compared for band in results),
        crowded=sum(band.crowded for band in results),
        dense=np.unique(np.concatenate([band.dense for band in results])),
    )


@dataclass(frozen=True)
class _Band:
    pairs: list[records.Pairs]
    compared: int
    crowded: int
    dense: NDArray[np.int64]


def _in_band(
    corpus: ShingleSets,
    index: BandIndex,
    number: int,
    dense: NDArray[np.uint8],
    floor: float,
    threshold: float,
    crowd: int,
) -> _Band:
    """Find the pairs of one band, given which sets are known to be dense; `dense` are those found anew."""
    filled = np.flatnonzero(index.sizes)
    keys, spare = np.empty((2, len(filled)), np.uint64)
    keys = compiled(signing.bucket_keys)(index.bands, number, filled, keys, spare)
    del spare
    indexed = records.Indexed(corpus.sets, index.rows, index.sizes, index.bands, index.bitmaps, dense.copy())
    crowds = [
        crowd_pairs(indexed, len(corpus.hashes), number, members, threshold, crowd**2 // 2)
        for members in _crowds(keys, crowd)
    ]
    pairs, compared = _walk(indexed, number, keys, floor, min(crowd, len(keys)))
    return _Band(
        [pairs, *(found.pairs for found in crowds)],
        compared + sum(found.compared for found in crowds),
        len(crowds),
        np.flatnonzero(indexed.dense != dense),
    )


def _crowds(keys: NDArray[np.uint64], crowd: int) -> list[NDArray[np.int64]]:
    """Find the buckets of more than `crowd` members."""
    begins, ends = compiled(signing.long_runs)(keys, crowd)
    return [(keys[a:b] & _LOW).astype(np.int64) for a, b in zip(begins, ends, strict=True)]


def _walk(
    indexed: records.Indexed, number: int, keys: NDArray[np.uint64], floor: float, crowd: int
) -> tuple[records.Pairs, int]:
    """Compare the members of all buckets of a band but the crowds."""
    bucket, pairs = bucket_for(crowd), room_for(_FIRST_ROOM)
    walked = records.Walk(0, 0, 0, 0)
    while True:
        walked = records.Walk(*compiled(kernels.walk)(indexed, number, keys, floor, bucket, pairs, walked))
        if walked.start == len(keys):
            return moved(pairs, walked.written, room=walked.written), walked.compared
        pairs = moved(pairs, walked.written, room=2 * len(pairs.left))


def _permutations(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Multipliers and increments of datasketch's "affine32" scheme, from the same generator."""
    generator = np.random.RandomState(_DATASKETCH_SEED)
    multipliers = generator.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return multipliers, generator.randint(0, 1 << 32, count, dtype=np.uint32)


def _mixed(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Apply the MurmurHash3 finalizer, which datasketch puts before its permutations."""
    mixed: NDArray[np.uint32] = hashes ^ (hashes >> np.uint32(16))
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return mixed


def _in_blocks(task: Callable[[int, int], None], rows: int) -> None:
    def spans() -> Iterator[tuple[int, int]]:
        for first in range(0, rows, _BLOCK_ROWS):
            yield first, min(rows, first + _BLOCK_ROWS)

    with ThreadPoolExecutor(_workers()) as pool:
        list(pool.map(lambda span: task(*span), spans()))


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

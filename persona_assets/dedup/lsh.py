"""Locality-sensitive hashing: signatures, their bands, and the verified pairs of each band's buckets."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup import set_kernels as kernels
from persona_assets.dedup import signature_kernels as signing
from persona_assets.dedup.compiled import compiled
from persona_assets.dedup.sets import ShingleSets

CROWD = 4096
_BLOCK_ROWS = 4096
_FIRST_ROOM = 1 << 16
_DATASKETCH_SEED = 1


@dataclass(frozen=True)
class BandIndex:
    """Distinct sets ready for comparison.

    Attributes:
        rows: The row of each set, int64.
        bands: Hash of each set's bands, uint32, shape (sets, bands).
        bitmaps: Parity bitmap of each set, uint64, shape (sets, 4).
    """

    rows: NDArray[np.int64]
    bands: NDArray[np.uint32]
    bitmaps: NDArray[np.uint64]


@dataclass(frozen=True)
class VerifiedPairs:
    """Pairs of places in an index at or above the floor, and what finding them took.

    Attributes:
        left: Place of the earlier set.
        right: Place of the later set.
        similarity: Exact Jaccard similarity.
        verified: Distinct pairs whose sets were intersected.
        crowded: Buckets of more than `CROWD` sets, in which followers of a leader were not compared
            with each other.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float64]
    verified: int
    crowded: int


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
    hashed = np.empty((len(rows), bands), np.uint32)
    bitmaps = np.empty((len(rows), kernels.BITMAP_WORDS), np.uint64)
    multipliers, increments = _permutations(permutations)
    hashes = _mixed(corpus.hashes)

    def block(first: int, last: int) -> None:
        chosen = rows[first:last]
        signatures = np.empty((len(chosen), permutations), np.uint32)
        compiled(signing.sign)(corpus.sets, chosen, hashes, multipliers, increments, signatures)
        compiled(signing.band)(signatures, band_rows, hashed[first:last])
        compiled(signing.bitmaps)(corpus.sets, chosen, bitmaps[first:last])

    _in_blocks(block, len(rows))
    return BandIndex(rows, hashed, bitmaps)


def verified_pairs(
    corpus: ShingleSets, index: BandIndex, *, floor: float, threshold: float, crowd: int = CROWD
) -> VerifiedPairs:
    """Walk the buckets of every band and intersect the sets that meet there, each pair once.

    Sets without shingles meet nobody.
    """
    filled = np.flatnonzero(np.diff(corpus.sets.starts)[index.rows])
    limits = kernels.Limits(floor, threshold, crowd)

    def one_band(number: int) -> tuple[kernels.Pairs, kernels.Walk]:
        keys, spare = np.empty((2, len(filled)), np.uint64)
        keys = compiled(signing.bucket_keys)(index.bands, number, filled, keys, spare)
        return _walk(corpus, index, keys, number, limits)

    with ThreadPoolExecutor(_workers()) as pool:
        results = list(pool.map(one_band, range(index.bands.shape[1])))
    return VerifiedPairs(
        np.concatenate([pairs.left for pairs, _ in results]).astype(np.int64),
        np.concatenate([pairs.right for pairs, _ in results]).astype(np.int64),
        np.concatenate([pairs.similarity for pairs, _ in results]),
        sum(int(walked.verified) for _, walked in results),
        sum(int(walked.crowded) for _, walked in results),
    )


def _walk(
    corpus: ShingleSets, index: BandIndex, keys: NDArray[np.uint64], number: int, limits: kernels.Limits
) -> tuple[kernels.Pairs, kernels.Walk]:
    leaders = kernels.Leaders(
        np.empty(len(keys), np.int64),
        np.empty(len(keys), np.int64),
        np.empty((len(keys), kernels.BITMAP_WORDS), np.uint64),
    )
    pairs = _room_for(_FIRST_ROOM)
    walked = kernels.Walk(0, 0, 0, 0, 0, 0)
    while True:
        walked = kernels.Walk(
            *compiled(kernels.walk)(
                corpus.sets,
                index.rows,
                index.bands,
                index.bitmaps,
                keys,
                number,
                limits,
                leaders,
                pairs,
                walked,
            )
        )
        if walked.start == len(keys):
            return _moved(pairs, walked.written, room=walked.written), walked
        pairs = _moved(pairs, walked.written, room=2 * len(pairs.left) + walked.leaders)


def _room_for(count: int) -> kernels.Pairs:
    return kernels.Pairs(np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.float64))


def _moved(pairs: kernels.Pairs, count: int, *, room: int) -> kernels.Pairs:
    moved = _room_for(room)
    moved.left[:count] = pairs.left[:count]
    moved.right[:count] = pairs.right[:count]
    moved.similarity[:count] = pairs.similarity[:count]
    return moved


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

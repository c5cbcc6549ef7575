"""Near-duplicates by meaning: all pairs of unit vectors, exactly, by blocked matrix products.

Products of short heads rule out nearly all pairs (see `heads`); the others are decided by the product
of the whole vectors. No pair is lost by that, and no N x N array is made.
"""

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup import vector_kernels as kernels
from persona_assets.dedup.compiled import compiled
from persona_assets.dedup.edges import Edges
from persona_assets.dedup.groups import Groups
from persona_assets.dedup.heads import Heads, heads_for

_FIRST_ROOM = 1 << 16
_BELOW_ONE = np.nextafter(1.0, 0.0)
_CHECKED_AT_ONCE = 1 << 20

Places = NDArray[np.int64]


def similar_pairs(vectors: NDArray[np.float32], *, floor: float, block_rows: int = 2048) -> Edges:
    """Find all pairs of rows whose cosine is at least `floor`.

    The cosine is the dot product of the float32 rows, summed in float64 and rounded to float32, so
    that it depends neither on the block size nor on the machine's matrix library. Rows that are
    equal bit by bit have similarity 1, all others less.

    Memory beside the vectors is their heads, one tile of `block_rows` x `block_rows` float32, and the
    pairs found.

    Args:
        vectors: Unit rows, shape (rows, dimensions). Rows that hold a NaN or infinity, or are zero,
            match nothing.
        floor: Least cosine, above 0.
        block_rows: Rows per tile.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    groups = _equal_rows(rows)
    if len(groups.firsts) < len(rows):
        rows = rows[groups.firsts]
    found = [_decided(rows, places, floor) for places in _candidates(rows, floor, block_rows)]
    left, right, similarity = (np.concatenate(column) for column in zip(_NOTHING, *found, strict=True))
    return groups.expand(left, right, similarity)


_NOTHING = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def _equal_rows(rows: NDArray[np.float32]) -> Groups:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    usable = np.isfinite(squares) & (squares > 0)
    seen: dict[bytes, int] = {}
    first = np.arange(len(rows))
    for row in np.flatnonzero(usable).tolist():
        first[row] = seen.setdefault(blake2b(rows[row], digest_size=16).digest(), row)
    return Groups.of(first, usable)


def _candidates(rows: NDArray[np.float32], floor: float, block_rows: int) -> Iterator[Places]:
    """Places (left, right) of pairs that may reach the floor, each once; every pair that does is there."""
    heads = heads_for(rows, floor)
    waiting: list[Places] = []
    for top in range(0, len(rows), block_rows):
        for start in range(top, len(rows), block_rows):
            waiting.append(_in_tile(heads, floor, slice(top, top + block_rows), slice(start, start + block_rows)))
            if sum(map(len, waiting)) > _CHECKED_AT_ONCE:
                yield np.concatenate(waiting)
                waiting.clear()
    if waiting:
        yield np.concatenate(waiting)


def _in_tile(heads: Heads, floor: float, left: slice, right: slice) -> Places:
    tile = heads.rows[left] @ heads.rows[right].T
    least = np.float32(floor - heads.margin)
    places = np.empty((_FIRST_ROOM, 2), np.int64)
    scanned = kernels.Scanned(0, 0)
    while True:
        scanned = kernels.Scanned(
            *compiled(kernels.reaching)(
                tile, heads.tails[left], heads.tails[right], least, left == right, places, scanned
            )
        )
        if scanned.row == len(tile):
            places[: scanned.written, 0] += left.start
            places[: scanned.written, 1] += right.start
            return places[: scanned.written].copy()
        larger = np.empty((2 * len(places) + tile.shape[1], 2), np.int64)
        larger[: scanned.written] = places[: scanned.written]
        places = larger


def _decided(
    rows: NDArray[np.float32], places: Places, floor: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    cosine = np.empty(len(places), np.float32)
    compiled(kernels.products)(rows, places[:, 0], places[:, 1], cosine)
    enough = cosine >= np.float32(floor)
    # Only equal rows have similarity 1; `Edges` relies on it.
    similarity = np.minimum(cosine[enough].astype(np.float64), _BELOW_ONE)
    return places[enough, 0], places[enough, 1], similarity

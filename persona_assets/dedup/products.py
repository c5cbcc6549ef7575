"""All pairs of like rows between two sets of unit vectors, exactly, in blocks."""

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup import vector_kernels as kernels
from persona_assets.dedup.compiled import compiled

_CHECKED_AT_ONCE = 8192
_ROUNDING = 2.0**-24

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def pairs_between(
    left: NDArray[np.float32], right: NDArray[np.float32], *, floor: float, block_rows: int = 2048
) -> Pairs:
    """Find all pairs (row of `left`, row of `right`) whose cosine is at least `floor`, with their cosines.

    Cosines are those of `embeddings.similar_pairs`: float32 rows multiplied in float64, rounded to
    float32. Memory beside the vectors is one tile of `block_rows` x `block_rows` and the pairs found.

    Args:
        left: Unit rows, shape (rows, dimensions). Rows with a NaN or infinity match nothing.
        right: The same, of as many dimensions.
        floor: Least cosine, above 0.
        block_rows: Rows per tile.
    """
    found: list[Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))]
    if not len(left) or not len(right):
        return found[0]
    left, right = _finite(left), _finite(right)
    # A float32 product of unit rows is off by less than this (Higham, Accuracy and Stability, 3.1).
    least = np.float32(floor - 2.0 * (left.shape[1] + 4) * _ROUNDING)
    for top in range(0, len(left), block_rows):
        for start in range(0, len(right), block_rows):
            tile = left[top : top + block_rows] @ right[start : start + block_rows].T
            a, b = np.nonzero(tile >= least)
            found += [
                _decided(left, right, a[k : k + _CHECKED_AT_ONCE] + top, b[k : k + _CHECKED_AT_ONCE] + start, floor)
                for k in range(0, len(a), _CHECKED_AT_ONCE)
            ]
    one, other, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
    return one, other, cosine


def _decided(
    left: NDArray[np.float32], right: NDArray[np.float32], a: NDArray[np.int64], b: NDArray[np.int64], floor: float
) -> Pairs:
    rows = np.concatenate([left[a], right[b]])
    cosine = np.empty(len(a), np.float32)
    places = np.arange(len(a))
    compiled(kernels.products)(rows, places, places + len(a), cosine)
    enough = cosine >= np.float32(floor)
    return a[enough], b[enough], cosine[enough].astype(np.float64)


def _finite(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    sound: NDArray[np.bool_] = np.all(np.isfinite(rows), axis=1)
    return np.ascontiguousarray(rows if sound.all() else np.where(sound[:, None], rows, np.float32(0)))

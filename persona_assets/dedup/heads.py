"""Short heads of vectors, whose products bound the products of the whole from above.

In a rotated space a vector is a head and a tail, and by Cauchy and Schwarz
`v.w <= head(v).head(w) + |tail(v)| |tail(w)|`. Rotated to the principal axes, a sixth of the
coordinates carries most of the length, so that nearly all pairs are ruled out by a sixth of the work.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SAMPLE_ROWS = 1024
_AXES_ROWS = 8192
_MOST_DIMENSIONS = 1024
_LENGTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512)
# Costs in units of one coordinate of one pair in a matrix product, as measured: reading a tile, and
# fetching and multiplying the two whole vectors of a pair that was not ruled out.
_SCAN_COST = 6.0
_CHECK_COST = 10_000.0
_ROUNDING = 2.0**-24


@dataclass(frozen=True)
class Heads:
    """Heads of all rows, float32 of shape (rows, length), the lengths of their tails, and a margin.

    The product of two rows is at most that of their heads, plus that of their tails' lengths, plus
    `margin`, all as computed in float32.
    """

    rows: NDArray[np.float32]
    tails: NDArray[np.float32]
    margin: float


def heads_for(vectors: NDArray[np.float32], floor: float) -> Heads:
    """Choose the head length that promises the least work on a sample; the whole vectors if none pays."""
    dimensions = vectors.shape[1]
    whole = Heads(vectors, np.zeros(len(vectors), np.float32), _margin(dimensions))
    if len(vectors) < 4 * _SAMPLE_ROWS:
        return whole
    axes = _principal_axes(vectors)
    spread = np.random.default_rng(0).permutation(len(vectors))[: 2 * _SAMPLE_ROWS]
    rotated = vectors[spread] @ axes
    squares = np.einsum("ij,ij->i", vectors[spread], vectors[spread])
    best, cost = 0, dimensions + _SCAN_COST
    for length in _LENGTHS:
        head = rotated[:, :length]
        if length > axes.shape[1] or length >= cost:
            break
        tails = np.sqrt(np.maximum(squares - np.einsum("ij,ij->i", head, head), 0))
        bounds = head[:_SAMPLE_ROWS] @ head[_SAMPLE_ROWS:].T
        bounds += tails[:_SAMPLE_ROWS, None] * tails[None, _SAMPLE_ROWS:]
        expected = length + _SCAN_COST + _CHECK_COST * float(np.mean(bounds >= floor))
        if expected < cost:
            best, cost = length, expected
    return _cut(vectors, axes[:, :best]) if best else whole


def _principal_axes(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Orthonormal columns, of falling importance to the rows; from a sample of them."""
    dimensions = vectors.shape[1]
    sample_size = _AXES_ROWS if dimensions <= _MOST_DIMENSIONS else _SAMPLE_ROWS
    sample = vectors[np.random.default_rng(1).permutation(len(vectors))[:sample_size]].astype(np.float64)
    if dimensions <= _MOST_DIMENSIONS:
        axes = np.linalg.eigh(sample.T @ sample)[1][:, ::-1]
    else:
        mixes = np.linalg.eigh(sample @ sample.T)[1]
        axes = np.linalg.qr(sample.T @ mixes[:, ::-1][:, : max(_LENGTHS)])[0]
    return np.ascontiguousarray(axes, dtype=np.float32)


def _cut(vectors: NDArray[np.float32], axes: NDArray[np.float32]) -> Heads:
    rows = np.empty((len(vectors), axes.shape[1]), np.float32)
    tails = np.empty(len(vectors), np.float32)
    for first in range(0, len(vectors), _AXES_ROWS):
        block = vectors[first : first + _AXES_ROWS]
        rows[first : first + len(block)] = block @ axes
        # Measured rather than inferred from the squares: the bound then survives axes that are
        # orthonormal only to float32; the wider margin covers what the products across leave.
        rest = block - rows[first : first + len(block)] @ axes.T
        tails[first : first + len(block)] = np.sqrt(np.einsum("ij,ij->i", rest, rest))
    return Heads(rows, tails, 4.0 * _margin(vectors.shape[1]))


def _margin(dimensions: int) -> float:
    """Bound the rounding of a float32 product of unit vectors (Higham, Accuracy and Stability, 3.1)."""
    return 2.0 * (dimensions + 4) * _ROUNDING

"""Embeddings to measure with, and our pair search against float32 tiles of the whole product.

The vectors stand for sentence embeddings of personas: the spectrum of their second moments falls off
as a power of the rank, two unrelated ones have a cosine of 0.25 on average, and a twentieth are
near-duplicates of others.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup.embeddings import similar_pairs

DIMENSIONS = 384
FLOOR = 0.75
TILE_ROWS = 2048
_MEAN, _DECAY, _COPIES, _MOST_NOISE = 0.25, 1.2, 0.05, 0.8


def synthetic(rows: int, dimensions: int, seed: int = 0) -> NDArray[np.float32]:
    """Make unit rows of shape (rows, dimensions)."""
    rng = np.random.default_rng(seed)
    variance = (np.arange(dimensions) + 5.0) ** -_DECAY
    deviation = np.sqrt(variance / variance.sum()).astype(np.float32)
    vectors = rng.normal(size=(rows, dimensions)).astype(np.float32) * deviation * np.sqrt(1 - _MEAN)
    vectors[:, 0] += np.sqrt(_MEAN)
    copies = np.flatnonzero(rng.random(rows) < _COPIES)
    noise = rng.normal(size=(len(copies), dimensions)).astype(np.float32) * deviation
    vectors[copies] = vectors[rng.integers(0, rows, len(copies))]
    vectors[copies] += noise * rng.uniform(0, _MOST_NOISE, (len(copies), 1)).astype(np.float32)
    turned = vectors @ np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0].astype(np.float32)
    return (turned / np.linalg.norm(turned, axis=1, keepdims=True)).astype(np.float32)


def tiled(vectors: NDArray[np.float32]) -> set[tuple[int, int]]:
    """All pairs at the floor by plain float32 tiles, upper triangle only."""
    found: set[tuple[int, int]] = set()
    for top in range(0, len(vectors), TILE_ROWS):
        for start in range(top, len(vectors), TILE_ROWS):
            tile = vectors[top : top + TILE_ROWS] @ vectors[start : start + TILE_ROWS].T
            left, right = np.nonzero(tile >= np.float32(FLOOR))
            once = left + top < right + start
            found.update(zip((left[once] + top).tolist(), (right[once] + start).tolist(), strict=True))
    return found


def ours(vectors: NDArray[np.float32]) -> set[tuple[int, int]]:
    """All pairs at the floor by `persona_assets.dedup.embeddings`."""
    edges = similar_pairs(vectors, floor=FLOOR)
    return set(zip(edges.left.tolist(), edges.right.tolist(), strict=True))


def main() -> None:
    """Print a table for the rows and dimensions on the command line."""
    rows, dimensions = int(sys.argv[1]), int(sys.argv[2])
    vectors = synthetic(rows, dimensions)
    ours(vectors[:5000])
    print(f"\n## embeddings, {rows:,} x {dimensions}, all pairs with a cosine of {FLOOR} or more")
    print(f"{'':24}{'CPU s':>9}{'wall s':>9}{'pairs':>9}")
    mine, cost = _timed("ours (heads, then exact)", ours, vectors)
    theirs, plain = _timed("float32 tiles", tiled, vectors)
    print(f"{plain / cost:.1f} x less CPU; pairs that only one of them has: {len(mine ^ theirs)}", flush=True)


def _timed(
    name: str, search: Callable[[NDArray[np.float32]], set[tuple[int, int]]], vectors: NDArray[np.float32]
) -> tuple[set[tuple[int, int]], float]:
    cpu, wall = time.process_time(), time.perf_counter()
    found = search(vectors)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{name:24}{cpu:9.2f}{wall:9.2f}{len(found):9,}")
    return found, cpu


if __name__ == "__main__":
    main()

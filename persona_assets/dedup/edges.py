"""Pairs of rows that are alike, with how alike they are."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

LISTED = 64  # of this many interchangeable rows at most, every pair is listed


@dataclass(frozen=True)
class Edges:
    """Similar pairs: row indices left[i] < right[i], similarity[i] in [0, 1]; sorted by pair, unique.

    Of more than `LISTED` interchangeable rows (similarity 1: the same shingles, the same vector) the
    first stands for all: each of the others is listed with the first alone, and pairs with rows
    outside are listed for the first alone. `keep` knows this; otherwise ten thousand copies of one
    sentence would be fifty million pairs.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.left)

    @classmethod
    def empty(cls) -> Self:
        """No pairs."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))

    @classmethod
    def of(cls, left: NDArray[np.int64], right: NDArray[np.int64], similarity: NDArray[np.float64]) -> Self:
        """Order pairs that are unique but come in any order, either end first."""
        low, high = np.minimum(left, right), np.maximum(left, right)
        order = np.argsort(low * (high.max(initial=0) + 1) + high)
        return cls(low[order], high[order], similarity[order])

    def joined(self, other: "Edges") -> "Edges":
        """Add pairs that are not among these."""
        return Edges.of(
            np.concatenate([self.left, other.left]),
            np.concatenate([self.right, other.right]),
            np.concatenate([self.similarity, other.similarity]),
        )

    def at_least(self, threshold: float) -> "Edges":
        """Keep the pairs whose similarity reaches `threshold`."""
        enough = self.similarity >= threshold
        return Edges(self.left[enough], self.right[enough], self.similarity[enough])

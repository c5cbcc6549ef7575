"""Rows that are interchangeable, so that one of them can be compared in place of all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup.edges import LISTED, Edges


@dataclass(frozen=True)
class Groups:
    """Rows grouped by equality; groups are numbered in the order of their first rows.

    Attributes:
        rows: Rows that take part, group by group, ascending within each.
        starts: Group g is `rows[starts[g]:starts[g + 1]]`.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, first: NDArray[np.int64], taking_part: NDArray[np.bool_]) -> "Groups":
        """Group rows by their `first` equal row, leaving out those that do not take part."""
        rows = np.flatnonzero(taking_part)
        rows = rows[np.argsort(first[rows], kind="stable")]
        begins = np.flatnonzero(np.diff(first[rows], prepend=-1))
        return cls(rows, np.append(begins, len(rows)))

    @property
    def firsts(self) -> NDArray[np.int64]:
        """The first row of each group."""
        return self.rows[self.starts[:-1]]

    def expand(self, left: NDArray[np.int64], right: NDArray[np.int64], similarity: NDArray[np.float64]) -> Edges:
        """List the pairs of rows that pairs of groups stand for, and those within groups (similarity 1).

        Groups of more than `LISTED` rows are listed as `Edges` says: by their first rows, and the
        others linked to it.
        """
        outside = self.between(left, right, similarity)
        inside_a, inside_b = self._inside(np.diff(self.starts))
        return Edges.of(
            np.concatenate([outside.left, inside_a]),
            np.concatenate([outside.right, inside_b]),
            np.concatenate([outside.similarity, np.ones(len(inside_a))]),
        )

    def between(self, left: NDArray[np.int64], right: NDArray[np.int64], similarity: NDArray[np.float64]) -> Edges:
        """List the pairs of rows that pairs of groups stand for; see `expand` for large groups."""
        sizes = np.diff(self.starts)
        shown = np.where(sizes > LISTED, 1, sizes)
        pair, k = _places(shown[left] * shown[right])
        a = self.rows[self.starts[left[pair]] + k // shown[right[pair]]]
        b = self.rows[self.starts[right[pair]] + k % shown[right[pair]]]
        return Edges.of(a, b, similarity[pair])

    def numbers(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the group of each of the given rows."""
        group_of = np.full(int(self.rows.max(initial=-1)) + 1, -1)
        group_of[self.rows] = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        return group_of[rows]

    def _inside(self, sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        small = np.flatnonzero((sizes > 1) & (sizes <= LISTED))
        group, k = _places(sizes[small] ** 2)
        size, start = sizes[small[group]], self.starts[small[group]]
        one, other = k // size, k % size
        once = one < other
        large = np.flatnonzero(sizes > LISTED)
        hub, member = _places(sizes[large] - 1)
        left = [(start + one)[once], self.starts[large[hub]]]
        right = [(start + other)[once], self.starts[large[hub]] + 1 + member]
        return self.rows[np.concatenate(left)], self.rows[np.concatenate(right)]


def _places(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Enumerate `counts[i]` places for every i: the i of each place, and its number within i."""
    which = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return which, np.arange(len(which)) - before[which]

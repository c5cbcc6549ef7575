"""Which of several similar rows stays: greedy, without chaining, with the winner of every loser."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup.compiled import compiled
from persona_assets.dedup.edges import LISTED, Edges


@dataclass(frozen=True)
class Kept:
    """The fate of every row: kept, or dropped in favour of `winner` at `similarity`.

    Attributes:
        kept: One entry per row; False as well for rows that took no part.
        winner: The kept row in whose place each dropped row goes; -1 where kept or not taking part.
        similarity: Between the dropped row and its winner; NaN where there is no winner.
    """

    kept: NDArray[np.bool_]
    winner: NDArray[np.int64]
    similarity: NDArray[np.float64]


def keep(priority: NDArray[np.int64], edges: Edges, threshold: float) -> Kept:
    """Keep rows greedily in order of priority; drop a row only if a kept row is its duplicate.

    There is no chaining: where A ~ B ~ C but A is unlike C, and A comes first, A and C stay. The
    result depends only on the order and the pairs at or above `threshold`.

    Args:
        priority: Row indices, best first, each at most once. Rows that are not in it take no part:
            they are neither kept nor win over others.
        edges: Similar pairs of rows, down to any floor.
        threshold: Similarity at which two rows are duplicates.

    Raises:
        ValueError: a row is twice in `priority`, or negative.
    """
    if len(priority) and int(priority.min()) < 0:
        raise ValueError("a row index in the priority order is negative")
    close = edges.at_least(threshold)
    rows = int(max(priority.max(initial=-1), close.right.max(initial=-1))) + 1
    result = Kept(np.zeros(rows, np.bool_), np.full(rows, -1, np.int64), np.full(rows, np.nan))
    result.kept[priority] = True
    if np.count_nonzero(result.kept) != len(priority):
        raise ValueError("a row is listed twice in the priority order")
    _drop(result, priority, close, _stand_ins(close, rows))
    return result


def _stand_ins(edges: Edges, rows: int) -> NDArray[np.int64]:
    """Find for every row the one that stands for it in `edges` (see `Edges`), itself as a rule."""
    same = edges.similarity == 1.0
    linked = np.bincount(edges.left[same], minlength=rows)
    hub = same & (linked[edges.left] >= LISTED)
    stand_in = np.arange(rows)
    # Backwards, so that the first of several hubs is the one that is taken.
    stand_in[edges.right[hub][::-1]] = edges.left[hub][::-1]
    return stand_in


def _drop(result: Kept, priority: NDArray[np.int64], edges: Edges, stand_in: NDArray[np.int64]) -> None:
    left, right = stand_in[edges.left], stand_in[edges.right]
    apart = left != right
    left, right, similarity = left[apart], right[apart], edges.similarity[apart]
    ends = np.concatenate([left, right])
    order = np.argsort(ends, kind="stable")
    starts = np.searchsorted(ends[order], np.arange(len(stand_in) + 1))
    rank = np.full(len(stand_in), -1, np.int64)
    rank[priority] = np.arange(len(priority))
    compiled(decide)(
        (priority, rank, stand_in),
        (starts, np.concatenate([right, left])[order], np.concatenate([similarity, similarity])[order]),
        (result.kept, result.winner, result.similarity),
    )


def decide(order: Any, neighbours: Any, fates: Any) -> None:
    """Walk the rows best first and drop each that a row kept so far duplicates (compiled).

    Args:
        order: Priority; rank by row; the row that stands for each row.
        neighbours: Of row r, `to[starts[r]:starts[r + 1]]` and the similarities in the same places.
        fates: The arrays of `Kept`, all taking part still kept.
    """
    priority, rank, stand_in = order
    starts, to, similarity = neighbours
    kept, winner, score = fates
    champion = np.full(len(stand_in), -1, np.int64)
    for row in priority:
        group = stand_in[row]
        best = champion[group]
        closest = 1.0
        if best < 0:
            closest = -1.0
            for at in range(starts[group], starts[group + 1]):
                rival = champion[to[at]]
                if rival < 0 or similarity[at] < closest:
                    continue
                if similarity[at] > closest or rank[rival] < rank[best]:
                    best, closest = rival, similarity[at]
        if best < 0:
            champion[group] = row
        else:
            kept[row], winner[row], score[row] = False, best, closest

"""How many personas would stay at other thresholds, from edges that are already known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup.edges import Edges
from persona_assets.dedup.keep import keep


@dataclass(frozen=True)
class Cut:
    """What a threshold leaves.

    Attributes:
        threshold: Similarity at which two personas are duplicates.
        pairs: Known pairs at or above it, of rows that take part.
        survivors: Personas kept.
        dropped: Personas not kept.
    """

    threshold: float
    pairs: int
    survivors: int
    dropped: int


def survivors(order: NDArray[np.int64], edges: Edges, grid: list[float]) -> list[Cut]:
    """Apply the keep rule at each threshold of `grid`.

    Args:
        order: Rows that take part, best first.
        edges: Similar pairs down to a floor; below it, a cut would miss pairs.
        grid: Thresholds.
    """
    cuts: list[Cut] = []
    taking_part = np.isin(edges.left, order) & np.isin(edges.right, order)
    for threshold in grid:
        kept = keep(order, edges, threshold)
        count = int(kept.kept[order].sum()) if len(order) else 0
        cuts.append(
            Cut(threshold, int((taking_part & (edges.similarity >= threshold)).sum()), count, len(order) - count)
        )
    return cuts


def grid_between(floor: float, step: float, *marked: float) -> list[float]:
    """Multiples of `step` from `floor` up to 1, and the `marked` thresholds, ascending."""
    first, last = round(np.ceil(floor / step - 1e-9)), round(np.floor(1.0 / step + 1e-9))
    return sorted({floor, 1.0, *marked, *(round(number * step, 6) for number in range(first, last + 1))})

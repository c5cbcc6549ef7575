"""The keep rule where duplicates are too many to list them all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup.edges import Edges
from persona_assets.dedup.keep import Kept, keep
from persona_assets.dedup.minhash import MinHashResult


@dataclass(frozen=True)
class Settled:
    """Who stays, and the edges that decide it: those listed, and those looked up for the purpose."""

    fates: Kept
    edges: Edges


def keep_one(priority: NDArray[np.int64], found: MinHashResult, threshold: float) -> Settled:
    """Apply `keep` as if every pair that shares a band were listed, without listing them all.

    Rows that stay are compared with each other, pairs among them are added, and the rule is applied
    anew until there are none. The greedy rule on some of the pairs gives what it gives on all of them
    once no two kept rows are a pair: by induction in order of priority, a row dropped has a kept
    duplicate either way, and a row kept is unlike all kept before it. Only the winner named for a
    dropped row may be another of its kept duplicates than the nearest.

    Args:
        priority: As for `keep`.
        found: Pairs at the same threshold.
        threshold: Similarity at which two rows are duplicates.
    """
    edges = found.edges
    while True:
        fates = keep(priority, edges, threshold)
        missing = found.dense.unlisted(priority[fates.kept[priority]], threshold) if found.dense else Edges.empty()
        if not len(missing):
            return Settled(fates, edges)
        edges = edges.joined(missing)

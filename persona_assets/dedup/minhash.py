"""Near-duplicates by shingles: MinHash signatures, banding, and an exact check of every candidate.

MinHash: Broder, "On the resemblance and containment of documents" (1997). Banding: Leskovec,
Rajaraman, Ullman, "Mining of Massive Datasets", 3.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup.edges import LISTED, Edges
from persona_assets.dedup.groups import Groups
from persona_assets.dedup.lsh import BandIndex, band_index, sign, verified_pairs
from persona_assets.dedup.sets import ShingleSets, equal_sets, shingle_sets
from persona_assets.languages import ShingleRule


@dataclass(frozen=True)
class BandPlan:
    """How signatures are cut into bands.

    Attributes:
        bands: Number of bands; a pair that agrees on all rows of one of them is a candidate.
        rows: Signature values per band.
        recall: Probability that a pair exactly at the threshold becomes a candidate.
    """

    bands: int
    rows: int
    recall: float


@dataclass(frozen=True)
class Dense:
    """Rows with more duplicates than are listed: boilerplate of which nearly every two variants are alike.

    Attributes:
        groups: Equal rows; group numbers are places in `index`.
        places: The groups whose pairs at the threshold are not listed in full, ascending.
    """

    corpus: ShingleSets
    groups: Groups
    index: BandIndex
    places: NDArray[np.int64]

    def unlisted(self, rows: NDArray[np.int64], threshold: float) -> Edges:
        """Find duplicates among the given rows, of which no two are listed as such; best rows first.

        Of rows that are still too many to list, each is given with some that come before it.
        """
        numbers = self.groups.numbers(rows)
        places = numbers[np.isin(numbers, self.places)]
        index = self.index.at(places)
        found = verified_pairs(self.corpus, index, floor=threshold, threshold=threshold, crowd=LISTED)
        return self.groups.between(places[found.left], places[found.right], found.similarity)


@dataclass(frozen=True)
class MinHashResult:
    """Verified pairs and how they were found.

    Attributes:
        edges: Pairs at or above the floor, with their exact Jaccard similarity.
        plan: The bands used; `plan.recall` holds at the threshold, and less does towards the floor.
        candidates: How often two shingle sets were compared (a pair may meet in several bands).
        crowded: Buckets too large for comparing every two of their rows (see `lsh.verified_pairs`):
            all their pairs at the threshold are listed, those between floor and threshold may not be.
        dense: Rows with too many duplicates to list them all, or None; see `settled.keep_one`.
    """

    edges: Edges
    plan: BandPlan
    candidates: int
    crowded: int
    dense: Dense | None


def band_plan(threshold: float, permutations: int, recall: float) -> BandPlan:
    """Choose LSH bands so that a pair at `threshold` becomes a candidate with probability >= `recall`.

    A pair at Jaccard s collides in one band with probability s**rows. Of the plans that reach
    `recall`, the one with the most rows is taken, which meets the fewest unlike pairs. The last band
    may be completed with values of the first one (see `collision`).

    Raises:
        ValueError: no plan within `permutations` reaches `recall`, or an argument is out of range.
    """
    if not 0.0 < threshold <= 1.0 or not 0.0 < recall < 1.0 or permutations < 1:
        raise ValueError("a band plan needs 0 < threshold <= 1, 0 < recall < 1 and permutations >= 1")
    for rows in range(permutations, 0, -1):
        most = -(-permutations // rows)
        for bands in range(1, most + 1):
            reached = collision(threshold, bands, rows, permutations)
            if reached >= recall:
                return BandPlan(bands, rows, reached)
    raise ValueError(
        f"no bands within {permutations} permutations find pairs at {threshold} with probability {recall}; "
        "use more permutations, a higher threshold or a lower recall"
    )


def collision(similarity: float, bands: int, rows: int, permutations: int) -> float:
    """Compute the probability that two sets of Jaccard `similarity` agree in at least one band.

    Bands are disjoint slices of the signature, except that the last may run over its end into the
    first `bands * rows - permutations` values; it then shares those with band 0, and the two miss
    together with probability 1 - 2 s**rows + s**(values in either).
    """
    hit = similarity**rows
    shared = bands * rows - permutations
    if shared <= 0:
        return 1.0 - (1.0 - hit) ** bands
    both_miss = 1.0 - 2.0 * hit + similarity ** (2 * rows - shared)
    return 1.0 - (1.0 - hit) ** (bands - 2) * both_miss


def signatures(texts: Sequence[str], rule: ShingleRule, *, permutations: int = 128) -> NDArray[np.uint64]:
    """Compute the MinHash signature of each text's shingles, as uint64 of shape (texts, permutations).

    The values are those of `datasketch.MinHash(num_perm=permutations, seed=1)` (datasketch >= 2.0,
    scheme "affine32") updated with the UTF-8 bytes of the shingles. `rule` is that of `shingles`.
    """
    corpus = shingle_sets(texts)
    return sign(corpus, np.arange(len(texts)), permutations).astype(np.uint64)


def similar_pairs(
    texts: Sequence[str],
    rule: ShingleRule,
    *,
    threshold: float,
    floor: float,
    permutations: int = 128,
    recall: float = 0.99,
) -> MinHashResult:
    """Find the pairs of texts whose shingle sets have a Jaccard similarity of at least `floor`.

    Candidates come from banded MinHash signatures, planned for `recall` at `threshold`; every one is
    verified on the shingle sets themselves. Texts without shingles (empty, emoji, punctuation) are
    alike only where they are equal, with similarity 1. Texts of the same shingles are compared once.
    Who keeps one of each set of duplicates should do so by `settled.keep_one`, which looks up what
    `edges` leaves out where nearly all of thousands of texts are duplicates of each other.

    Raises:
        ValueError: no band plan reaches `recall` (see `band_plan`).
    """
    plan = band_plan(threshold, permutations, recall)
    corpus = shingle_sets(texts)
    groups = equal_sets(corpus, texts)
    index = band_index(corpus, groups.firsts, plan.bands, plan.rows, permutations)
    found = verified_pairs(corpus, index, floor=floor, threshold=threshold)
    edges = groups.expand(found.left, found.right, found.similarity)
    dense = Dense(corpus, groups, index, found.dense) if len(found.dense) else None
    return MinHashResult(edges, plan, found.compared, found.crowded, dense)

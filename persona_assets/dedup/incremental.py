"""Similar pairs of a corpus that grew: only pairs with a new row are looked for, the others are known.

The result is that of a full search over old and new rows together, so that whatever is decided from it,
in whatever order of priority, is decided as in a full run.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup import embeddings
from persona_assets.dedup.edges import Edges
from persona_assets.dedup.groups import Groups
from persona_assets.dedup.lsh import band_index, verified_pairs
from persona_assets.dedup.minhash import BandPlan
from persona_assets.dedup.products import Pairs, pairs_between
from persona_assets.dedup.sets import equal_sets, shingle_sets

_BELOW_ONE = np.nextafter(1.0, 0.0)


def shingle_pairs(
    texts: Sequence[str],
    known: Edges,
    new: NDArray[np.bool_],
    *,
    plan: BandPlan,
    threshold: float,
    floor: float,
    permutations: int = 128,
) -> Edges | None:
    """Find what `minhash.similar_pairs` finds, given the pairs among old rows.

    None where duplicates are too many to list them all (see `settled.keep_one`): then only a search
    among all rows can tell who stays.

    All rows are cut into shingles and hashed again, which takes time linear in the rows; what grows with
    the pairs, the walk through the buckets and the intersection of sets, is done for new rows and the
    old ones that share a bucket with them.

    Args:
        texts: Old and new rows, in any order.
        known: Pairs among old rows, down to `floor`, found with the same plan.
        new: Which rows are new.
        plan: The bands; other arguments as in `minhash.similar_pairs`.
        threshold: Jaccard similarity at which `plan` has its recall.
        floor: Least Jaccard similarity.
        permutations: Length of the signatures.
    """
    if not new.any():
        return known
    corpus = shingle_sets(texts)
    groups = equal_sets(corpus, texts)
    fresh = _all_new(groups, new)
    index = band_index(corpus, groups.firsts, plan.bands, plan.rows, permutations)
    some = np.flatnonzero(_meeting(index.bands, fresh))
    found = verified_pairs(corpus, index.at(some), floor=floor, threshold=threshold)
    if len(found.dense):
        return None
    left, right = some[found.left], some[found.right]
    with_new = fresh[left] | fresh[right]
    return _expanded(groups, known, len(new), [(left[with_new], right[with_new], found.similarity[with_new])])


def vector_pairs(
    vectors: NDArray[np.float32], known: Edges, new: NDArray[np.bool_], *, floor: float, block_rows: int = 2048
) -> Edges:
    """Find what `embeddings.similar_pairs` finds, given the pairs among old rows.

    New rows are multiplied with each other and with the old ones; old rows not with each other.

    Args:
        vectors: Old and new rows, in any order.
        known: Pairs among old rows, down to `floor`.
        new: Which rows are new.
        floor: Least cosine, above 0.
        block_rows: Rows per tile.
    """
    if not new.any():
        return known
    groups = _equal_rows(vectors)
    fresh = _all_new(groups, new)
    young, old = groups.firsts[fresh], groups.firsts[~fresh]
    number_young, number_old = np.flatnonzero(fresh), np.flatnonzero(~fresh)
    among = embeddings.similar_pairs(vectors[young], floor=floor, block_rows=block_rows)
    one, other, cosine = pairs_between(vectors[young], vectors[old], floor=floor, block_rows=block_rows)
    found = [
        (number_young[among.left], number_young[among.right], among.similarity),
        # Only equal rows have similarity 1; `Edges` relies on it.
        (number_young[one], number_old[other], np.minimum(cosine, _BELOW_ONE)),
    ]
    return _expanded(groups, known, len(new), found)


def _meeting(bands: NDArray[np.uint32], fresh: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which groups share a bucket with a fresh one, fresh ones included."""
    met = fresh.copy()
    for band in bands:
        met |= np.isin(band, band[fresh])
    return met


def _all_new(groups: Groups, new: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which groups have no old row; what an old row is like is known."""
    if not len(groups.firsts):
        return np.empty(0, np.bool_)
    return np.logical_and.reduceat(new[groups.rows], groups.starts[:-1])


def _expanded(groups: Groups, known: Edges, rows: int, found: Sequence[Pairs]) -> Edges:
    group_of = np.full(rows, -1)
    group_of[groups.rows] = np.repeat(np.arange(len(groups.firsts)), np.diff(groups.starts))
    left, right = group_of[known.left], group_of[known.right]
    low, high = np.minimum(left, right), np.maximum(left, right)
    between = np.flatnonzero((low >= 0) & (low != high))
    # Groups of several rows are listed by several pairs of equal similarity.
    _, first = np.unique(low[between] * len(groups.firsts) + high[between], return_index=True)
    once = between[first]
    pairs = [(low[once], high[once], known.similarity[once]), *found]
    left, right, similarity = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return groups.expand(left, right, similarity)


def _equal_rows(rows: NDArray[np.float32]) -> Groups:
    """Group rows that are equal bit by bit, as `embeddings.similar_pairs` does; broken ones take no part."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    usable = np.isfinite(squares) & (squares > 0)
    seen: dict[bytes, int] = {}
    first = np.arange(len(rows))
    for row in np.flatnonzero(usable).tolist():
        first[row] = seen.setdefault(blake2b(rows[row].tobytes(), digest_size=16).digest(), row)
    return Groups.of(first, usable)

"""Thousands of personas that share a template: buckets too large to compare every two of their members."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from persona_assets.dedup.edges import Edges
from persona_assets.dedup.groups import Groups
from persona_assets.dedup.keep import keep
from persona_assets.dedup.lsh import band_index, verified_pairs
from persona_assets.dedup.minhash import Dense, MinHashResult, band_plan
from persona_assets.dedup.sets import equal_sets, shingle_sets
from persona_assets.dedup.settled import keep_one

THRESHOLD = 0.7


def boilerplate(count, *, template, own, copies=0.1, seed=3):
    """Texts of `template` common words and `own` words of their own; some copy another but for a few words."""
    rng = np.random.default_rng(seed)
    own_words = rng.integers(0, 3000, (count, own))
    for row in np.flatnonzero(rng.random(count) < copies)[1:]:
        own_words[row] = own_words[rng.integers(0, row)]
        places = rng.integers(0, own, int(rng.integers(0, own)))
        own_words[row, places] = rng.integers(0, 3000, len(places))
    shared = " ".join(f"template{number}" for number in range(template))
    return [f"{shared} {' '.join(f'w{word}' for word in words)}" for words in own_words.tolist()]


def exact_pairs(texts):
    corpus = shingle_sets(texts)
    ids, starts = corpus.sets
    matrix = csr_array((np.ones(len(ids), np.int32), ids, starts), shape=(len(texts), len(corpus.hashes)))
    sizes, found = np.diff(starts), {}
    for first in range(0, len(texts), 500):
        shared = (matrix[first : first + 500] @ matrix.T).toarray()
        jaccard = shared / (sizes[first : first + 500, None] + sizes[None] - shared)
        left, right = np.nonzero(jaccard >= THRESHOLD)
        once = left + first < right
        ends = zip((left[once] + first).tolist(), right[once].tolist(), strict=True)
        found |= dict(zip(ends, jaccard[left[once], right[once]].tolist(), strict=True))
    return found


def as_edges(pairs):
    ends = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return Edges.of(ends[:, 0], ends[:, 1], np.array([pairs[a, b] for a, b in sorted(pairs)]))


def searched(texts, crowd, floor=0.5):
    """What `similar_pairs` does, with crowds that begin at fewer members."""
    plan = band_plan(THRESHOLD, 128, 0.99)
    corpus = shingle_sets(texts)
    groups = equal_sets(corpus, texts)
    index = band_index(corpus, groups.firsts, plan.bands, plan.rows, 128)
    found = verified_pairs(corpus, index, floor=floor, threshold=THRESHOLD, crowd=crowd)
    edges = groups.expand(found.left, found.right, found.similarity)
    return MinHashResult(edges, plan, found.compared, found.crowded, Dense(corpus, groups, index, found.dense))


def pairs_of(edges):
    return dict(
        zip(zip(edges.left.tolist(), edges.right.tolist(), strict=True), edges.similarity.tolist(), strict=True)
    )


@pytest.mark.parametrize(("template", "own"), [(30, 15), (36, 12), (20, 15)])
def test_all_duplicates_in_crowds_are_found(template, own):
    texts = boilerplate(4000, template=template, own=own)
    found, truth = searched(texts, 100), exact_pairs(texts)
    duplicates = pairs_of(found.edges.at_least(THRESHOLD))
    assert found.crowded > 5
    assert len(found.dense.places) == 0
    assert duplicates == {pair: truth[pair] for pair in duplicates}
    assert len(truth) > 100
    assert len(duplicates) >= 0.99 * len(truth)


def test_sets_compared_in_crowds_grow_with_the_rows_and_not_with_their_square():
    small = searched(boilerplate(1500, template=30, own=15), 100, THRESHOLD)
    large = searched(boilerplate(12_000, template=30, own=15), 100, THRESHOLD)
    assert large.crowded > small.crowded
    assert large.candidates < 1.5 * 8 * small.candidates


@pytest.mark.parametrize("seed", range(3))
def test_nobody_is_kept_beside_a_duplicate_where_duplicates_are_too_many_to_list(seed):
    texts = boilerplate(800, template=36, own=5, copies=0.5)
    found, truth = searched(texts, 60), exact_pairs(texts)
    assert len(found.dense.places) > 500
    assert len(found.edges) < len(truth) / 2
    order = np.random.default_rng(seed).permutation(len(texts))
    kept = np.flatnonzero(keep_one(order, found, THRESHOLD).fates.kept)
    assert kept.tolist() == np.flatnonzero(keep(order, as_edges(truth), THRESHOLD).kept).tolist()


def test_rows_that_take_no_part_keep_nobody_from_staying():
    texts = boilerplate(600, template=36, own=5)
    found, truth = searched(texts, 100), exact_pairs(texts)
    order = np.arange(0, len(texts), 2)
    kept = np.flatnonzero(keep_one(order, found, THRESHOLD).fates.kept)
    assert kept.tolist() == np.flatnonzero(keep(order, as_edges(truth), THRESHOLD).kept).tolist()


def test_groups_tell_the_number_of_a_row():
    groups = Groups.of(np.array([0, 1, 0, 3, 1]), np.ones(5, np.bool_))
    assert groups.numbers(np.array([4, 3, 2])).tolist() == [1, 2, 0]

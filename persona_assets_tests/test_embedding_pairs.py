import numpy as np
import pytest

from persona_assets.dedup.embeddings import similar_pairs
from persona_assets.dedup.heads import heads_for
from persona_assets.dedup.keep import keep


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(rows, dimensions=48, seed=3):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(rows // 4, dimensions))
    return unit(centres[rng.integers(0, len(centres), rows)] + rng.normal(size=(rows, dimensions)) * 0.5)


@pytest.mark.parametrize("block_rows", [7, 64, 4096])
def test_every_pair_at_the_floor_is_found_whatever_the_block_size(block_rows):
    vectors = clustered(500)
    cosines = np.triu(vectors.astype(np.float64) @ vectors.T.astype(np.float64), 1)
    left, right = np.nonzero(cosines >= 0.75)
    edges = similar_pairs(vectors, floor=0.75, block_rows=block_rows)
    assert len(left) > 100
    assert edges.left.tolist() == left.tolist()
    assert edges.right.tolist() == right.tolist()
    np.testing.assert_allclose(edges.similarity, cosines[left, right], atol=1e-6)


def personas_like(rows, dimensions, seed=3):
    """Unit vectors whose variance falls off along hidden axes, a tenth of them near-duplicates."""
    rng = np.random.default_rng(seed)
    spread = (np.arange(dimensions) + 5.0) ** -0.6
    vectors = rng.normal(size=(rows, dimensions)) * spread
    vectors[:, 0] += spread[0]
    copies = rng.integers(0, rows, rows // 10)
    vectors[copies] = vectors[rng.integers(0, rows, len(copies))]
    vectors[copies] += rng.normal(size=(len(copies), dimensions)) * spread * rng.uniform(0, 1, (len(copies), 1))
    return unit(vectors @ np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0])


@pytest.mark.parametrize("floor", [0.75, 0.9])
def test_short_heads_rule_out_no_pair(floor):
    vectors = personas_like(5000, 256)
    assert heads_for(vectors, floor).rows.shape[1] < 256
    cosines = np.triu(vectors.astype(np.float64) @ vectors.T.astype(np.float64), 1)
    left, right = np.nonzero(cosines.astype(np.float32) >= np.float32(floor))
    edges = similar_pairs(vectors, floor=floor)
    assert len(left) > 100
    assert edges.left.tolist() == left.tolist()
    assert edges.right.tolist() == right.tolist()


def test_heads_bound_every_product_from_above():
    vectors = personas_like(4500, 256)
    heads = heads_for(vectors, 0.75)
    assert heads.rows.shape[1] < 256
    some = slice(0, 600)
    bounds = heads.rows[some] @ heads.rows.T + heads.tails[some, None] * heads.tails + heads.margin
    assert (bounds >= vectors[some].astype(np.float64) @ vectors.T.astype(np.float64)).all()


def test_heads_are_not_used_where_they_would_not_pay():
    rng = np.random.default_rng(1)
    assert heads_for(unit(rng.normal(size=(5000, 32))), 0.1).rows.shape == (5000, 32)


def test_a_tile_that_is_full_of_pairs_is_read_to_its_end():
    vectors = unit(np.ones((700, 8)) + np.random.default_rng(2).normal(size=(700, 8)) * 0.01)
    edges = similar_pairs(vectors, floor=0.9, block_rows=700)
    assert len(edges) == 700 * 699 // 2


def test_equal_vectors_are_alike_and_linked_to_the_first_where_they_are_many():
    vectors = clustered(400)
    vectors[100:300] = vectors[7]
    edges = similar_pairs(vectors, floor=0.75)
    same = edges.similarity == 1.0
    assert np.unique(edges.left[same]).tolist() == [7]
    assert edges.right[same].tolist() == list(range(100, 300))
    fates = keep(np.arange(400)[::-1].copy(), edges, 0.75)
    assert fates.kept[[7, *range(100, 300)]].sum() <= 1


def test_broken_and_zero_vectors_match_nothing():
    vectors = clustered(20)
    vectors[5:] = vectors[0]
    vectors[6, 3] = np.nan
    vectors[7] = 0
    vectors[8, 0] = np.inf
    edges = similar_pairs(vectors, floor=0.999)
    assert not {6, 7, 8} & {*edges.left.tolist(), *edges.right.tolist()}
    assert {5, 9, 19} <= {*edges.left.tolist(), *edges.right.tolist()}


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_vectors_have_no_pairs(rows):
    assert len(similar_pairs(np.ones((rows, 4), np.float32), floor=0.5)) == 0

"""Added personas: only what concerns them is computed, and the result is that of a full run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_assets.dedup import embeddings, incremental, lsh, minhash
from persona_assets.dedup.edges import LISTED, Edges
from persona_assets.dedup.keep import keep
from persona_assets.dedup.products import pairs_between

WORDS = ["nurse", "baker", "night", "village", "ceramics", "retired", "fisher", "coast", "teacher", "violin"]
OPTIONS = {"threshold": 0.7, "floor": 0.4, "permutations": 128}

personas = st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join)
corpora = st.lists(st.tuples(personas, st.booleans()), max_size=40)


def same(found: Edges, expected: Edges) -> None:
    assert found.left.tolist() == expected.left.tolist()
    assert found.right.tolist() == expected.right.tolist()
    np.testing.assert_allclose(found.similarity, expected.similarity, atol=1e-6)


def among(edges: Edges, rows: np.ndarray) -> Edges:
    """Edges between places in `rows`, as edges between rows."""
    return Edges.of(rows[edges.left], rows[edges.right], edges.similarity)


def grown(texts: list[str], new: np.ndarray) -> Edges:
    old = np.flatnonzero(~new)
    before = minhash.similar_pairs([texts[row] for row in old], "words", **OPTIONS)
    return incremental.shingle_pairs(texts, among(before.edges, old), new, plan=before.plan, **OPTIONS)


@settings(max_examples=60, deadline=None)
@given(corpora)
def test_pairs_by_shingles_are_those_of_a_full_run(corpus: list[tuple[str, bool]]) -> None:
    texts, new = [text for text, _ in corpus], np.array([added for _, added in corpus], np.bool_)
    same(grown(texts, new), minhash.similar_pairs(texts, "words", **OPTIONS).edges)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 11), st.booleans()), max_size=40),
    st.sampled_from([0.3, 0.75, 0.95]),
    st.sampled_from([3, 2048]),
)
def test_pairs_by_meaning_are_those_of_a_full_run(
    corpus: list[tuple[int, bool]], floor: float, block_rows: int
) -> None:
    centres = np.random.default_rng(0).normal(size=(6, 16))
    kinds = np.concatenate([centres, centres + np.random.default_rng(1).normal(size=(6, 16)) * 0.3])
    kinds = (kinds / np.linalg.norm(kinds, axis=1, keepdims=True)).astype(np.float32)
    kinds[11, 0] = np.nan
    vectors = kinds[np.array([kind for kind, _ in corpus], np.int64)]
    new = np.array([added for _, added in corpus], np.bool_)
    old = np.flatnonzero(~new)
    before = among(embeddings.similar_pairs(vectors[old], floor=floor), old)
    found = incremental.vector_pairs(vectors, before, new, floor=floor, block_rows=block_rows)
    same(found, embeddings.similar_pairs(vectors, floor=floor))


@settings(max_examples=40, deadline=None)
@given(corpora)
def test_where_old_personas_come_first_those_kept_before_stay_and_new_ones_meet_only_them(
    corpus: list[tuple[str, bool]],
) -> None:
    texts, new = [text for text, _ in corpus], np.array([added for _, added in corpus], np.bool_)
    old_first = np.argsort(new, kind="stable")
    full = keep(old_first, minhash.similar_pairs(texts, "words", **OPTIONS).edges, 0.7)
    step = keep(old_first, grown(texts, new), 0.7)
    assert step.kept.tolist() == full.kept.tolist()
    assert step.winner.tolist() == full.winner.tolist()
    old = np.flatnonzero(~new)
    before = keep(
        np.arange(len(old)), minhash.similar_pairs([texts[row] for row in old], "words", **OPTIONS).edges, 0.7
    )
    assert full.kept[old].tolist() == before.kept.tolist()


def test_a_crowd_of_copies_that_grows_stays_listed_by_its_first() -> None:
    texts = ["a night nurse in a village"] * (2 * LISTED) + ["a night nurse in the village", "a baker"]
    new = np.zeros(len(texts), np.bool_)
    new[[0, 5, LISTED + 3, len(texts) - 2]] = True
    same(grown(texts, new), minhash.similar_pairs(texts, "words", **OPTIONS).edges)


def test_old_sets_are_not_intersected_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{WORDS[n % 7]} {WORDS[n % 5]} number {n}" for n in range(300)]
    new = np.zeros(len(texts), np.bool_)
    new[7] = True
    old = np.flatnonzero(~new)
    before = minhash.similar_pairs([texts[row] for row in old], "words", **OPTIONS)
    compared: list[int] = []

    def counted(*arguments: object, **options: object) -> lsh.VerifiedPairs:
        found = lsh.verified_pairs(*arguments, **options)
        compared.append(found.compared)
        return found

    monkeypatch.setattr(incremental, "verified_pairs", counted)
    incremental.shingle_pairs(texts, among(before.edges, old), new, plan=before.plan, **OPTIONS)
    assert sum(compared) < before.candidates / 5


@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 5), (5, 0), (1, 1)])
def test_few_or_no_rows_on_either_side_are_no_fault(left: int, right: int) -> None:
    one, other = np.eye(5, dtype=np.float32)[:left], np.eye(5, dtype=np.float32)[:right]
    a, b, cosine = pairs_between(one, other, floor=0.5)
    assert (a.tolist(), b.tolist(), cosine.tolist()) == (([0], [0], [1.0]) if left == right == 1 else ([], [], []))


def test_pairs_between_two_sets_are_those_of_the_whole_product() -> None:
    rng = np.random.default_rng(5)
    left, right = (rng.normal(size=(rows, 8)).astype(np.float32) for rows in (130, 70))
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    left[3] = np.nan
    a, b, cosine = pairs_between(left, right, floor=0.6, block_rows=33)
    whole = left.astype(np.float64) @ right.T.astype(np.float64)
    expected = np.nonzero(np.nan_to_num(whole) >= 0.6)
    assert sorted(zip(a.tolist(), b.tolist(), strict=True)) == list(
        zip(*(part.tolist() for part in expected), strict=True)
    )
    np.testing.assert_allclose(cosine, whole[a, b], atol=1e-6)

import gzip
import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from persona_assets.dedup.keep import keep
from persona_assets.dedup.minhash import band_plan, collision, signatures, similar_pairs
from persona_assets.dedup.shingles import shingles

TEXTS = [
    "A baker from Vic who writes about sourdough",
    "A baker from Vic who blogs about sourdough",
    "Un pastor de los Picos de Europa",
    "",
    "",
    "😀",
    "👍",
    "x",
    "a baker from VIC, who writes about sourdough!",
]


def pairs(result):
    return dict(
        zip(
            zip(result.edges.left.tolist(), result.edges.right.tolist(), strict=True),
            result.edges.similarity.tolist(),
            strict=True,
        )
    )


def test_signatures_are_those_of_datasketch():
    ours = signatures(TEXTS, "words")
    assert ours.shape == (len(TEXTS), 128)
    assert ours.dtype == np.uint64
    for text, row in zip(TEXTS, ours, strict=True):
        sketch = MinHash(num_perm=128, seed=1)
        for shingle in shingles(text, "words"):
            sketch.update(shingle.encode())
        assert sketch.hashvalues.tolist() == row.tolist()


def test_similar_texts_are_found_with_their_exact_jaccard():
    found = pairs(similar_pairs(TEXTS, "words", threshold=0.7, floor=0.5))
    assert found == {(0, 1): 7 / 9, (0, 8): 1.0, (1, 8): 7 / 9, (3, 4): 1.0}


def test_texts_without_shingles_match_only_their_equals():
    found = pairs(similar_pairs(["😀", "", "👍", "😀", "x", "x!"], "words", threshold=0.7, floor=0.5))
    assert found == {(0, 3): 1.0, (4, 5): 1.0}


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_the_band_plan_reaches_the_recall_asked_for(threshold):
    plan = band_plan(threshold, 128, 0.99)
    assert plan.recall >= 0.99
    assert (plan.bands - 1) * plan.rows < 128
    assert plan.recall == collision(threshold, plan.bands, plan.rows, 128)


@pytest.mark.parametrize(
    ("threshold", "permutations", "recall"),
    [(0.1, 16, 0.99), (0.0, 128, 0.9), (0.7, 0, 0.9), (0.7, 128, 1.0)],
)
def test_an_impossible_band_plan_is_refused(threshold, permutations, recall):
    with pytest.raises(ValueError, match="band"):
        band_plan(threshold, permutations, recall)


def test_the_stated_collision_probability_is_the_one_that_random_signatures_have():
    rng = np.random.default_rng(5)
    same = rng.random((200_000, 12)) < 0.6
    bands = [np.arange(first, first + 5) % 12 for first in (0, 5, 10)]
    measured = np.logical_or.reduce([same[:, band].all(axis=1) for band in bands]).mean()
    assert measured == pytest.approx(collision(0.6, 3, 5, 12), abs=0.004)


@pytest.mark.parametrize("texts", [[], ["one"], [""]])
def test_too_few_texts_have_no_pairs(texts):
    assert len(similar_pairs(texts, "words", threshold=0.7, floor=0.5).edges) == 0


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=60), max_size=8), permutations=st.sampled_from([1, 16, 128, 200]))
def test_signatures_of_any_text_are_those_of_datasketch(texts, permutations):
    ours = signatures(texts, "words", permutations=permutations)
    assert ours.shape == (len(texts), permutations)
    for text, row in zip(texts, ours, strict=True):
        sketch = MinHash(num_perm=permutations, seed=1)
        sketch.update_batch([shingle.encode() for shingle in shingles(text, "words")])
        assert sketch.hashvalues.tolist() == row.tolist()


def exact_pairs(texts, floor):
    """All pairs at or above the floor, the slow way: every row against every other."""
    sets = [shingles(text, "words") for text in texts]
    numbers = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(sets)))}
    columns = [numbers[word] for words in sets for word in words]
    ends = np.cumsum([0, *map(len, sets)])
    matrix = csr_array((np.ones(len(columns), np.int32), columns, ends), shape=(len(sets), len(numbers)))
    shared = (matrix @ matrix.T).tocoo()
    once = shared.row < shared.col
    left, right, shared = shared.row[once], shared.col[once], shared.data[once]
    sizes = np.diff(ends)
    jaccard = shared / (sizes[left] + sizes[right] - shared)
    return {
        (a, b): similarity
        for a, b, similarity in zip(left.tolist(), right.tolist(), jaccard.tolist(), strict=True)
        if similarity >= floor
    }


def variants(count, seed=7):
    """Texts of about thirty words of which each is a copy of an earlier one with some words replaced."""
    rng = np.random.default_rng(seed)
    vocabulary = [f"w{number}" for number in range(4000)]
    texts = []
    for row in range(count):
        words = rng.choice(vocabulary, 30).tolist()
        if row % 3:
            words = texts[int(rng.integers(0, row))].split()
            for place in rng.integers(0, len(words), int(rng.integers(0, 9))):
                words[place] = str(rng.choice(vocabulary))
        texts.append(" ".join(words))
    return texts


def check_against_exact_pairs(texts):
    truth = exact_pairs(texts, 0.5)
    found = pairs(similar_pairs(texts, "words", threshold=0.7, floor=0.5))
    assert found == {pair: truth[pair] for pair in found}
    duplicates = [pair for pair, similarity in truth.items() if similarity >= 0.7]
    assert len(duplicates) > 20
    assert sum(pair in found for pair in duplicates) >= 0.99 * len(duplicates)


def test_recall_and_precision_against_every_pair():
    check_against_exact_pairs(variants(3000))


@pytest.mark.parametrize("name", ["en_human", "ko", "ja", "id"])
def test_recall_and_precision_on_real_personas(name):
    file = Path(__file__).parents[2] / "shared" / "data" / "personas" / f"{name}.jsonl.gz"
    if not file.exists():
        pytest.skip("the real personas are not at hand")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        check_against_exact_pairs([json.loads(line)["persona"] for line in lines][:4000])


def test_many_copies_are_linked_to_the_first_without_listing_their_square():
    texts = ["one of a kind", *["the same old boilerplate sentence"] * 5000, "The SAME old boilerplate; sentence"]
    edges = similar_pairs(texts, "words", threshold=0.7, floor=0.5).edges
    assert len(edges) == 5000
    assert set(edges.left.tolist()) == {1}
    assert (edges.similarity == 1.0).all()


def test_of_many_copies_one_is_kept_whatever_the_order():
    texts = [*["my name is Ana and I bake bread"] * 300, "my name is Ana and I bake good bread"] * 2
    edges = similar_pairs(texts, "words", threshold=0.7, floor=0.5).edges
    order = np.random.default_rng(1).permutation(len(texts))
    fates = keep(order, edges, 0.7)
    assert np.flatnonzero(fates.kept).tolist() == [order[0]]
    assert set(fates.winner.tolist()) == {-1, order[0]}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["x", "x", "y"], {(0, 1): 1.0}),
        (["a " * 100_000, "a"], {(0, 1): 1.0}),
        (["سلام دنیا", "سَلَام دنیا", "שלום עולם"], {(0, 1): 1.0}),
        (["👩‍🍳", "👩‍🍳", "👩‍🍳 baker", "baker"], {(0, 1): 1.0, (2, 3): 1.0}),
        (["\ud800", "\ud800", "?", "a\ud800b", "a b"], {(0, 1): 1.0, (3, 4): 1.0}),
        (["漢" * 50_000, "漢" * 1000], {(0, 1): 1.0}),
    ],
)
def test_odd_rows_have_a_defined_outcome(texts, expected):
    assert pairs(similar_pairs(texts, "han", threshold=0.7, floor=0.5)) == expected


def test_the_result_does_not_depend_on_other_rows_or_on_the_run():
    texts = variants(600)
    first = pairs(similar_pairs(texts, "words", threshold=0.7, floor=0.5))
    again = pairs(similar_pairs([*texts, "something else"], "words", threshold=0.7, floor=0.5))
    assert first == again

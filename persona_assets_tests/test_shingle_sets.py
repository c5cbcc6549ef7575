import sys
import unicodedata
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_assets.dedup.sets import shingle_sets
from persona_assets.dedup.shingles import shingles
from persona_assets.dedup.vocabulary import Vocabulary

SCRIPTS = (
    "aZé'-ñßİıǰ ½…１Ａｶﾞガがー々〇漢字鋼한국어각ΣςЖйअक्षिأَإـ😀🏽𠀀㍿ﬁ"
    "\u0300\u0307\u0308\u3099\u309a\u200b\u200c\u200d\u00ad\ufe0f\u20e3\u1100\u1161\u11a8\ufffd\n\t\x00"
)
LARGE_SCRIPTS = (range(0x3400, 0xA000), range(0xAC00, 0xD7A4), range(0x12000, 0x1D000), range(0x20000, 0x32000))


def spelled(texts):
    """The shingles of each row as the compiled pass finds them."""
    return [set(row) for row in rows_of(texts)]


def rows_of(texts):
    vocabulary = Vocabulary()
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    numbers, ends = vocabulary.read(np.frombuffer(b"".join(encoded) + b" ", np.uint8), offsets)
    words = vocabulary.spellings()
    for start, end in pairwise([0, *ends]):
        yield [words[number] for number in numbers[start:end].tolist()]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.text(st.one_of(st.sampled_from(SCRIPTS), st.characters(exclude_categories=["Cs"])))))
def test_the_compiled_pass_cuts_any_text_as_the_rule_does(texts):
    assert spelled(texts) == [set(shingles(text, "words")) for text in texts]


def test_every_character_is_cut_as_the_rule_does_in_words_among_ideographs_and_under_marks():
    points = [c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) not in {"Cn", "Cs", "Co"}]
    sampled = [c for c in points if c % 40 == 0 or not any(c in script for script in LARGE_SCRIPTS)]
    texts = [f"a{c}b {c}\u0301\u0338 漢{c}字 {c}\u3099{c} ـ{c}\u0654" for c in map(chr, sampled)]
    assert len(texts) > 20_000
    wrong = [text for text, found in zip(texts, spelled(texts), strict=True) if found != set(shingles(text, "words"))]
    assert wrong == []


def test_sets_are_sorted_and_distinct_and_hold_across_chunks(monkeypatch):
    monkeypatch.setattr("persona_assets.dedup.sets._CHUNK_CHARS", 40)
    texts = ["b a b", "", "c a " * 30, "Élan élan", "½ liter", "漢字 漢字", "a b"]
    corpus = shingle_sets(texts)
    starts = corpus.sets.starts.tolist()
    rows = [corpus.sets.ids[a:b].tolist() for a, b in pairwise(starts)]
    assert [len(row) for row in rows] == [len(shingles(text, "words")) for text in texts]
    assert all(row == sorted(set(row)) for row in rows)
    assert rows[0] == rows[6]
    assert corpus.set_hashes[0] == corpus.set_hashes[6]


def test_a_vocabulary_beyond_its_first_room_loses_nothing():
    texts = [f"word{n} {'x' * (n % 300)}{n} 漢{chr(0x4E00 + n % 9000)}" for n in range(20_000)]
    assert spelled(texts) == [set(shingles(text, "words")) for text in texts]


def test_one_word_of_a_hundred_thousand_characters_is_one_shingle():
    assert spelled(["a" * 100_000, "漢" * 100_000]) == [{"a" * 100_000}, {"漢漢"}]

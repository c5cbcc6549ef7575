"""Personas to measure with: synthetic ones of realistic statistics, and real ones where they are at hand.

The synthetic ones follow what was counted over 4,016 English personas written by LLMs: 45 distinct
words (standard deviation 8), the fifty commonest words each in a share of the personas that falls
from 0.99 to 0.13, a Zipf tail; two unrelated personas have a Jaccard similarity of 0.12 (median) and
0.27 (once in a thousand; 0.12 and 0.26 among the real ones). A twentieth of the rows are copies of
earlier ones with 0 to 35 % of the words replaced, a five-hundredth is one boilerplate sentence.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BOILERPLATE = "I am a helpful assistant who likes to help people with their questions."
COPIES = 0.05
BOILERPLATE_SHARE = 0.002

_COMMON_WORDS = 50
_TAIL_WORDS = 25_000
_CHUNK_ROWS = 50_000
_MEAN_WORDS, _DEVIATION, _LEAST_WORDS = 45, 8, 12
_SENTENCE_WORDS = 9
_REAL_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "personas"


def synthetic(rows: int, seed: int = 1) -> list[str]:
    """Make `rows` personas, the same for the same seed."""
    return list(stream(rows, seed))


def stream(rows: int, seed: int = 1) -> Iterator[str]:
    """Make the same personas without holding all of them."""
    rng = np.random.default_rng(seed)
    vocabulary = _vocabulary(rng)
    for done in range(0, rows, _CHUNK_ROWS):
        lists = _word_lists(min(_CHUNK_ROWS, rows - done), rng, vocabulary)
        yield from _with_duplicates([_written(words, rng) for words in lists], rng, vocabulary)


def real(*names: str) -> list[str]:
    """Read real personas (`en_llm`, `ko`, …), none where the data are not at hand."""
    texts: list[str] = []
    for name in names:
        file = _REAL_FOLDER / f"{name}.jsonl.gz"
        if file.exists():
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                texts += [json.loads(line)["persona"] for line in lines]
    return texts


def _vocabulary(rng: np.random.Generator) -> NDArray[np.str_]:
    letters = np.array(list("eeeetttaaaoooiinnssrrhhldcumfpgwybvk"))
    size = _COMMON_WORDS + _TAIL_WORDS
    lengths = np.clip(np.round(2 + np.log10(1 + np.arange(size)) * 1.4 + rng.normal(0, 1, size)), 1, 14)
    words: dict[str, None] = {}
    for length in lengths.astype(int).tolist():
        word = "".join(rng.choice(letters, length))
        while word in words:
            word += str(rng.choice(letters))
        words[word] = None
    return np.array(list(words), dtype=object)


def _word_lists(count: int, rng: np.random.Generator, vocabulary: NDArray[np.str_]) -> list[list[str]]:
    rank = np.arange(_COMMON_WORDS)
    common = rng.random((count, _COMMON_WORDS)) < np.minimum(0.99, 8.0 / (rank + 7.0))
    wanted = np.maximum(_LEAST_WORDS, rng.normal(_MEAN_WORDS, _DEVIATION, count)).astype(int)
    # Drawn with replacement: a tenth more than wanted leaves about as many distinct ones.
    drawn = np.maximum(3, ((wanted - common.sum(axis=1)) * 1.1)).astype(int)
    weight = 1.0 / (np.arange(_TAIL_WORDS) + 100.0) ** 1.8
    tail = np.searchsorted(np.cumsum(weight) / weight.sum(), rng.random(int(drawn.sum())))
    parts = np.split(vocabulary[_COMMON_WORDS + np.minimum(tail, _TAIL_WORDS - 1)], np.cumsum(drawn)[:-1])
    lists = []
    for row, part in enumerate(parts):
        words = np.concatenate([vocabulary[:_COMMON_WORDS][common[row]], part])
        rng.shuffle(words)
        lists.append(words.tolist())
    return lists


def _written(words: list[str], rng: np.random.Generator) -> str:
    sentences = []
    at = 0
    while at < len(words):
        length = int(rng.integers(_SENTENCE_WORDS - 4, _SENTENCE_WORDS + 5))
        sentence = " ".join(words[at : at + length])
        sentences.append(sentence[0].upper() + sentence[1:] + ".")
        at += length
    return " ".join(sentences)


def _with_duplicates(texts: list[str], rng: np.random.Generator, vocabulary: NDArray[np.str_]) -> list[str]:
    for row in np.flatnonzero(rng.random(len(texts)) < COPIES).tolist():
        words = texts[int(rng.integers(0, row + 1))].split(" ")
        share = rng.uniform(-0.05, 0.35)
        for place in np.flatnonzero(rng.random(len(words)) < share).tolist():
            words[place] = str(vocabulary[int(rng.integers(0, len(vocabulary)))])
        texts[row] = " ".join(words)
    for row in np.flatnonzero(rng.random(len(texts)) < BOILERPLATE_SHARE).tolist():
        texts[row] = BOILERPLATE
    return texts

"""The exact answer, by sparse matrix products and independent of what is measured.

All pairs at or above a threshold by prefix filtering (Bayardo, Ma, Srikant, "Scaling Up All Pairs
Similarity Search", 2007): with the words of each set ordered from rare to common, two sets of Jaccard
t or more share k words among the first |s| - ceil(t |s|) + k of each (k = 1 there; larger ones leave
fewer pairs to look at).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.sparse import csr_array

from persona_assets.dedup.shingles import shingles

Pairs = dict[tuple[int, int], float]

_BLOCK_ROWS = 1000
_SHARED = 5


def similar_pairs(texts: Sequence[str], threshold: float) -> Pairs:
    """All pairs (earlier row, later row) whose shingle sets reach the threshold."""
    sets = [frozenset(shingles(text, "words")) for text in texts]
    copies: dict[frozenset[str], list[int]] = defaultdict(list)
    for row, words in enumerate(sets):
        if words:
            copies[words].append(row)
    pairs = {pair: 1.0 for rows in copies.values() for pair in combinations(rows, 2)}
    groups = list(copies.values())
    for one, other, jaccard in _between(list(copies), threshold):
        pairs |= {(min(a, b), max(a, b)): jaccard for a in groups[one] for b in groups[other]}
    return pairs


def _between(sets: list[frozenset[str]], threshold: float) -> list[tuple[int, int, float]]:
    counts = Counter(word for words in sets for word in words)
    number = {word: rank for rank, word in enumerate(sorted(counts, key=lambda word: (counts[word], word)))}
    ranked = [sorted(number[word] for word in words) for words in sets]
    rare = [words[: len(words) - math.ceil(threshold * len(words) - 1e-9) + _SHARED] for words in ranked]
    whole, prefixes = _matrix(ranked, len(number)), _matrix(rare, len(number))
    sizes = np.diff(whole.indptr)
    found: list[tuple[int, int, float]] = []
    for first in range(0, len(sets), _BLOCK_ROWS):
        met = (prefixes[first : first + _BLOCK_ROWS] @ prefixes.T).tocoo()
        left, right = met.row + first, met.col
        least = threshold * np.maximum(sizes[left], sizes[right]) - 1e-9
        near = (met.data >= np.minimum(_SHARED, least)) & (np.minimum(sizes[left], sizes[right]) >= least)
        near &= left < right
        left, right = left[near], right[near]
        for start in range(0, len(left), 100 * _BLOCK_ROWS):
            some = slice(start, start + 100 * _BLOCK_ROWS)
            shared = whole[left[some]].multiply(whole[right[some]]).sum(axis=1)
            jaccard = shared / (sizes[left[some]] + sizes[right[some]] - shared)
            alike = np.flatnonzero(jaccard >= threshold)
            columns = (left[some][alike], right[some][alike], jaccard[alike])
            found += zip(*(column.tolist() for column in columns), strict=True)
    return found


def _matrix(rows: list[list[int]], width: int) -> csr_array:
    ends = np.cumsum([0, *map(len, rows)])
    columns = np.array([number for row in rows for number in row], np.int64)
    return csr_array((np.ones(len(columns), np.int32), columns, ends), shape=(len(rows), width))


def kept_rows(count: int, pairs: Pairs) -> set[int]:
    """Rows kept by the greedy rule in row order: drop what duplicates a row that was kept."""
    earlier: dict[int, list[int]] = defaultdict(list)
    for a, b in pairs:
        earlier[b].append(a)
    kept: set[int] = set()
    for row in range(count):
        if not kept.intersection(earlier[row]):
            kept.add(row)
    return kept

"""Texts as sets of shingle numbers, flat arrays throughout."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from persona_assets.dedup import set_kernels as kernels
from persona_assets.dedup.compiled import compiled
from persona_assets.dedup.groups import Groups
from persona_assets.dedup.vocabulary import Vocabulary

_CHUNK_CHARS = 1 << 20


@dataclass(frozen=True)
class ShingleSets:
    """The shingle sets of a corpus.

    Attributes:
        sets: Shingle numbers by row.
        set_hashes: uint64 by row, equal for equal sets.
        hashes: uint32 by shingle number (first four bytes of SHA-1, little-endian).
    """

    sets: kernels.Sets
    set_hashes: NDArray[np.uint64]
    hashes: NDArray[np.uint32]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.set_hashes)


def shingle_sets(texts: Sequence[str]) -> ShingleSets:
    """Cut texts into shingles and number them; the sets are exactly those of `shingles`."""
    vocabulary = Vocabulary()
    stamps = np.empty(0, np.int64)
    ids: list[NDArray[np.int32]] = []
    stops, set_hashes = np.zeros(len(texts) + 1, np.int64), np.empty(len(texts), np.uint64)
    total = 0
    for first, last in _chunks(texts):
        found, ends = vocabulary.read(*_utf8(texts[first:last]))
        stamps = np.concatenate([stamps, np.full(len(vocabulary) - len(stamps), -1, np.int64)])
        fresh = np.empty(len(found), np.int32)
        written = compiled(kernels.distinct)(
            found, ends, stamps, first, fresh, stops[first + 1 : last + 1], set_hashes[first:last]
        )
        compiled(kernels.sort_rows)(fresh, stops[first + 1 : last + 1], len(vocabulary))
        ids.append(fresh[:written].copy())
        stops[first + 1 : last + 1] += total
        total += written
    return ShingleSets(kernels.Sets(_joined(ids, total), stops), set_hashes, vocabulary.hashes())


def _joined(parts: list[NDArray[np.int32]], total: int) -> NDArray[np.int32]:
    """Join arrays and empty the list on the way, so that there are never two copies of everything."""
    joined = np.empty(total, np.int32)
    while parts:
        part = parts.pop()
        joined[total - len(part) : total] = part
        total -= len(part)
    return joined


def equal_sets(corpus: ShingleSets, texts: Sequence[str]) -> Groups:
    """Group rows by equal shingle sets, and rows without shingles by equal texts."""
    row_bits = max(1, len(corpus).bit_length())
    high = ~np.uint64((1 << row_bits) - 1)
    keys = np.sort((corpus.set_hashes & high) | np.arange(len(corpus), dtype=np.uint64))
    empty = np.diff(corpus.sets.starts) == 0
    keys = keys[~empty[(keys & ~high).astype(np.int64)]]
    first = np.empty(len(corpus), np.int64)
    compiled(kernels.equal_sets)(corpus.sets, keys, row_bits, first)
    seen: dict[str, int] = {}
    for row in np.flatnonzero(empty).tolist():
        first[row] = seen.setdefault(texts[row], row)
    return Groups.of(first, np.ones(len(corpus), np.bool_))


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Cut the rows into spans of some megabytes of text each."""
    upto = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    first = 0
    while first < len(texts):
        before = upto[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(upto, before + _CHUNK_CHARS, side="right")))
        yield first, last
        first = last


def _utf8(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        column = pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        # Lone surrogates are no text; like any other separator they end a word.
        column = pa.array([text.encode("utf-8", "replace") for text in texts], pa.large_binary())
    _, offsets, data = column.buffers()
    text = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    return text, np.frombuffer(offsets, np.int64)[: len(texts) + 1]

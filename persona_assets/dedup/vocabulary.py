"""Every distinct shingle of a corpus, numbered, with its 32-bit hash."""

from collections.abc import Sequence
from hashlib import sha1
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup import text_kernels as kernels
from persona_assets.dedup.characters import SEPARATOR, class_table, learn
from persona_assets.dedup.compiled import compiled
from persona_assets.dedup.shingles import shingles

_FIRST_ROOM = 1 << 14
_BYTES_PER_ENTRY = 12


class Vocabulary:
    """The distinct runs met so far, and the shingles that each is made of.

    A run is usually one shingle, spelled as it stands. Where folding is needed ("Élan", "½", a
    vocalised word), the run is handed to `shingles`, once, and stands for what that returns.
    """

    def __init__(self) -> None:
        self._entries = _room_for(_FIRST_ROOM)
        self._alphabet = kernels.Alphabet(class_table(), _lowered_bytes())
        # The shingle that entry e is, or -1 - k where it is several or none: parts[k].
        self._alias = np.empty(0, np.int32)
        self._parts: list[NDArray[np.int32]] = []
        self._hashes = np.empty(0, np.uint32)

    def __len__(self) -> int:
        """Count the entries; shingle numbers are below it."""
        return int(self._entries.used[0])

    def read(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Number the shingles of rows given as one UTF-8 buffer and the offsets of its rows.

        Returns:
            The shingle numbers of all rows one after another, with repetitions, and where each row
            ends.
        """
        size = int(offsets[-1] - offsets[0])
        found = np.empty(size // 2 + len(offsets) + 1, np.int32)
        ends = np.empty(len(offsets) - 1, np.int64)
        progress = kernels.Progress(0, 0, -1)
        while True:
            progress = kernels.Progress(
                *compiled(kernels.scan)(self._entries, self._alphabet, text, offsets, found, ends, progress)
            )
            if progress.row == len(offsets) - 1:
                break
            if progress.unknown >= 0:
                learn(progress.unknown)
            else:
                self._enlarge()
        self._work_out_new_entries()
        return self._shingles_of(found[: progress.written], ends)

    def hashes(self) -> NDArray[np.uint32]:
        """First four bytes of each entry's SHA-1, little-endian: the hash datasketch permutes."""
        known = len(self._hashes)
        spelled = self._spellings(known, len(self))
        fresh = [int.from_bytes(sha1(word, usedforsecurity=False).digest()[:4], "little") for word in spelled]
        self._hashes = np.concatenate([self._hashes, np.array(fresh, np.uint32)])
        return self._hashes

    def spellings(self) -> list[str]:
        """Spell every entry, by its number."""
        return [word.decode() for word in self._spellings(0, len(self))]

    def _spellings(self, first: int, last: int) -> list[bytes]:
        starts = self._entries.starts[first : last + 1].tolist()
        spelled = self._entries.arena[starts[0] : starts[-1]].tobytes() if first < last else b""
        return [spelled[a - starts[0] : b - starts[0]] for a, b in pairwise(starts)]

    def _work_out_new_entries(self) -> None:
        first, last = len(self._alias), len(self)
        to_fold = np.flatnonzero(self._entries.flags[first:last] == kernels.TO_FOLD) + first
        cut = [shingles(self._spellings(entry, entry + 1)[0].decode(), "words") for entry in to_fold.tolist()]
        numbers = self._intern([part for parts in cut for part in parts])
        # Interning may have added entries, which are their own shingles.
        self._alias = np.concatenate([self._alias, np.arange(first, len(self), dtype=np.int32)])
        upto = np.cumsum([len(parts) for parts in cut], dtype=np.int64)
        for entry, end, parts in zip(to_fold.tolist(), upto.tolist(), cut, strict=True):
            if len(parts) == 1:
                self._alias[entry] = numbers[end - 1]
            else:
                self._alias[entry] = -1 - len(self._parts)
                self._parts.append(numbers[end - len(parts) : end])

    def _intern(self, parts: Sequence[str]) -> NDArray[np.int32]:
        spelled = [part.encode() for part in parts]
        text = np.frombuffer(b"".join(spelled) + b" ", np.uint8)
        offsets = np.cumsum([0, *map(len, spelled)], dtype=np.int64)
        found = np.empty(len(parts), np.int32)
        done = 0
        while True:
            done = compiled(kernels.intern_all)(self._entries, text, offsets, done, self._alphabet.lower, found)
            if done == len(parts):
                return found
            self._enlarge()

    def _shingles_of(
        self, entries: NDArray[np.int32], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        numbers = self._alias[entries]
        several = np.flatnonzero(numbers < 0)
        if not len(several):
            return numbers, ends
        parts = [self._parts[-1 - k] for k in numbers[several].tolist()]
        length = np.ones(len(numbers), np.int64)
        length[several] = [len(part) for part in parts]
        spread = np.repeat(numbers, length)
        spread[spread < 0] = np.concatenate(parts)
        return spread, np.append(0, np.cumsum(length))[ends]

    def _enlarge(self) -> None:
        old = self._entries
        count = len(self)
        new = _room_for(2 * len(old.keys), arena=2 * len(old.arena))
        new.starts[: count + 1] = old.starts[: count + 1]
        for name in ("keys", "flags", "arena", "used"):
            kept = getattr(old, name)
            getattr(new, name)[: len(kept)] = kept
        compiled(kernels.rehash)(new)
        self._entries = new


def _room_for(entries: int, arena: int | None = None) -> kernels.Entries:
    return kernels.Entries(
        slots=np.full(2 * entries, -1, np.int32),
        slot_keys=np.zeros(2 * entries, np.uint64),
        keys=np.zeros(entries, np.uint64),
        starts=np.zeros(entries + 1, np.int64),
        flags=np.zeros(entries, np.uint8),
        arena=np.zeros(arena or entries * _BYTES_PER_ENTRY, np.uint8),
        used=np.zeros(1, np.int64),
    )


def _lowered_bytes() -> NDArray[np.uint8]:
    lowered = np.arange(256, dtype=np.uint8)
    lowered[ord("A") : ord("Z") + 1] += 32
    lowered[:128][class_table()[:128] == SEPARATOR] = 0
    return lowered

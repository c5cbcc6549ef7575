"""Compiled passes over UTF-8 buffers: cutting text into runs, and interning each distinct run once."""
# numba takes positional arguments and plain loops; the numbers are those of UTF-8.
# ruff: noqa: PLR2004

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# The character classes of characters.py, as numbers that the compiler can inline.
_SEPARATOR, _IDEOGRAPH, _FOLDING, _BINDING, _UNKNOWN = 0, 2, 3, 4, 255

OWN_SHINGLE = 0
TO_FOLD = 1

_HASH_START = np.uint64(0xCBF29CE484222325)  # FNV-1a
_HASH_PRIME = np.uint64(0x00000100000001B3)
_LONG = np.uint64(0xFF00000000000000)
_PACKED_BYTES = 7
_BYTE = np.uint64(8)
_SPREAD = np.uint64(0xFF51AFD7ED558CCD)


class Entries(NamedTuple):
    """Interned strings: entry e is spelled `arena[starts[e]:starts[e + 1]]`.

    A key of up to seven bytes is the spelling itself; a longer spelling's key is a hash of it under a
    highest byte of 255, and only there does finding an entry compare the spellings.

    Attributes:
        slots: Hash table of entries, int32, -1 where empty; its length is a power of two.
        slot_keys: uint64, the key of the entry in each slot.
        keys: uint64 by entry.
        starts: int64 by entry, one more than there is room for entries.
        flags: uint8 by entry: `OWN_SHINGLE`, or `TO_FOLD` where its shingles have to be worked out.
        arena: uint8, the spellings one after another, ASCII letters in lower case.
        used: int64 of shape (1,), the number of entries.
    """

    slots: NDArray[np.int32]
    slot_keys: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    starts: NDArray[np.int64]
    flags: NDArray[np.uint8]
    arena: NDArray[np.uint8]
    used: NDArray[np.int64]


class Alphabet(NamedTuple):
    """Character classes by code point, and bytes with ASCII capitals lowered and ASCII separators 0; uint8."""

    classes: NDArray[np.uint8]
    lower: NDArray[np.uint8]


class Progress(NamedTuple):
    """Where a scan stands: first row not done, entries written, the character it has to be told (or -1)."""

    row: int
    written: int
    unknown: int


def _width(lead: int) -> int:
    if lead < 0x80:
        return 1
    if lead < 0xE0:
        return 2
    return 3 if lead < 0xF0 else 4


def _point(text: Any, at: int) -> Any:
    lead = np.int64(text[at])
    if lead < 0x80:
        return lead
    if lead < 0xE0:
        return ((lead & 0x1F) << 6) | (np.int64(text[at + 1]) & 0x3F)
    low = ((np.int64(text[at + 1]) & 0x3F) << 6) | (np.int64(text[at + 2]) & 0x3F)
    if lead < 0xF0:
        return ((lead & 0x0F) << 12) | low
    return ((lead & 0x07) << 18) | (low << 6) | (np.int64(text[at + 3]) & 0x3F)


def _slot(key: Any, size: int) -> Any:
    mixed = key * _SPREAD
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _SPREAD
    return np.int64((mixed >> np.uint64(32)) & np.uint64(size - 1))


def _find(
    slots: Any, slot_keys: Any, starts: Any, arena: Any, text: Any, start: int, end: int, lower: Any, key: Any
) -> Any:
    """Slot of the entry that spells `text[start:end]`, or the empty slot where it belongs."""
    slot = _slot(key, len(slots))
    while slots[slot] >= 0:
        if slot_keys[slot] == key:
            if end - start <= _PACKED_BYTES:
                return slot
            first = starts[slots[slot]]
            same = starts[slots[slot] + 1] - first == end - start
            for k in range(end - start if same else 0):
                same = same and arena[first + k] == lower[text[start + k]]
            if same:
                return slot
        slot = (slot + 1) & (len(slots) - 1)
    return slot


def _key(text: Any, start: int, end: int, lower: Any, packed: Any) -> Any:
    """Key of a spelling, given its last bytes, each shifted in from below."""
    if end - start <= _PACKED_BYTES:
        return packed
    key = _HASH_START
    for at in range(start, end):
        key = (key ^ np.uint64(lower[text[at]])) * _HASH_PRIME
    return key | _LONG


def _add(entries: Entries, text: Any, start: int, end: int, lower: Any, key: Any, flag: int, slot: Any) -> Any:
    """Number of a new entry in an empty slot; -1 where there is no room."""
    entry = entries.used[0]
    first = entries.starts[entry]
    if entry + 1 >= len(entries.starts) or first + end - start > len(entries.arena):
        return -1
    for k in range(end - start):
        entries.arena[first + k] = lower[text[start + k]]
    entries.starts[entry + 1] = first + end - start
    entries.keys[entry] = key
    entries.flags[entry] = flag
    entries.slots[slot] = entry
    entries.slot_keys[slot] = key
    entries.used[0] = entry + 1
    return entry


def _intern(entries: Entries, text: Any, start: int, end: int, lower: Any, flag: int) -> Any:
    """Number of the entry that spells `text[start:end]`, added if it is new; -1 where there is no room."""
    key = np.uint64(0)
    for at in range(start, end):
        key = (key << _BYTE) | np.uint64(lower[text[at]])
    key = _key(text, start, end, lower, key)
    slot = _find(entries.slots, entries.slot_keys, entries.starts, entries.arena, text, start, end, lower, key)
    if entries.slots[slot] >= 0:
        return np.int64(entries.slots[slot])
    return _add(entries, text, start, end, lower, key, flag, slot)


def rehash(entries: Entries) -> None:
    """Enter all entries into slots that were emptied."""
    for entry in range(entries.used[0]):
        slot = _slot(entries.keys[entry], len(entries.slots))
        while entries.slots[slot] >= 0:
            slot = (slot + 1) & (len(entries.slots) - 1)
        entries.slots[slot] = entry
        entries.slot_keys[slot] = entries.keys[entry]


def intern_all(entries: Entries, text: Any, offsets: Any, first: int, lower: Any, found: Any) -> int:
    """Intern strings as their own shingles, their entries to `found`; return the first one without room."""
    for k in range(first, len(offsets) - 1):
        entry = _intern(entries, text, offsets[k], offsets[k + 1], lower, OWN_SHINGLE)
        if entry < 0:
            return k
        found[k] = entry
    return len(offsets) - 1


def scan(
    entries: Entries, alphabet: Alphabet, text: Any, offsets: Any, found: Any, ends: Any, progress: Progress
) -> Progress:
    """Cut rows into runs, write the entry of each to `found`, and to `ends[row]` where the row's entries end.

    Stops early at a character whose class is unknown, or (`unknown` -1) where there is no room for a
    new entry; the row is then done again from its beginning.
    """
    done = progress.written
    # Taken out of the tuple once: numba counts references at each access.
    classes, lower = alphabet.classes, alphabet.lower
    slots, slot_keys, starts, arena = entries.slots, entries.slot_keys, entries.starts, entries.arena
    for row in range(progress.row, len(offsets) - 1):
        written = done
        at = offsets[row]
        stop = offsets[row + 1]
        while at < stop:
            end, key, ideographs, most = _run(classes, lower, text, at, stop)
            if most == _UNKNOWN:
                return Progress(row, done, _point(text, end))
            if end > at and (ideographs == 0 or most == _BINDING):
                key = _key(text, at, end, lower, key)
                slot = _find(slots, slot_keys, starts, arena, text, at, end, lower, key)
                entry = np.int64(slots[slot])
                if entry < 0:
                    flag = TO_FOLD if most >= _FOLDING else OWN_SHINGLE
                    entry = _add(entries, text, at, end, lower, key, flag, slot)
                if entry < 0:
                    return Progress(row, done, -1)
                found[written] = entry
                written += 1
            elif end > at:
                written = _pieces(entries, alphabet, text, at, end, found, written)
                if written < 0:
                    return Progress(row, done, -1)
            at = end + _width(text[end]) if end < stop else stop
        done = written
        ends[row] = done
    return Progress(len(offsets) - 1, done, -1)


def _run(classes: Any, lower: Any, text: Any, at: int, stop: int) -> tuple[int, Any, int, Any]:
    """End and key of the run at `at`, how many ideographs it has, and the highest class of the others."""
    # Indices are unsigned where it counts: a signed one is tested for being negative at each access.
    key = np.uint64(0)
    ideographs, most = 0, np.int64(0)
    while at < stop:
        byte = text[at]
        if byte < 0x80:
            lowered = lower[byte]
            if lowered == 0:
                break
            key = (key << _BYTE) | np.uint64(lowered)
            at += 1
            continue
        kind: Any = np.int64(classes[_point(text, at)])
        if kind == _SEPARATOR:
            break
        if kind == _IDEOGRAPH:
            ideographs += 1
        else:
            most = max(most, kind)
        if kind == _UNKNOWN:
            break
        for _ in range(_width(byte)):
            key = (key << _BYTE) | np.uint64(text[at])
            at += 1
    return at, key, ideographs, most


def _pieces(entries: Entries, alphabet: Alphabet, text: Any, start: int, end: int, found: Any, written: int) -> int:
    """Cut a run in which words and ideographs alternate; return the new end of `found`, -1 without room."""
    at = start
    while at < end:
        most = np.int64(alphabet.classes[_point(text, at)])
        follow = at + _width(text[at])
        if most == _IDEOGRAPH:
            alone = at == start or alphabet.classes[_point(text, _back(text, at))] != _IDEOGRAPH
            upto, flag = follow, OWN_SHINGLE
            if follow < end and alphabet.classes[_point(text, follow)] == _IDEOGRAPH:
                upto = follow + _width(text[follow])
            elif not alone:
                # the last of several: it stands in the bigram before it
                at = follow
                continue
        else:
            while follow < end and alphabet.classes[_point(text, follow)] != _IDEOGRAPH:
                most = max(most, np.int64(alphabet.classes[_point(text, follow)]))
                follow += _width(text[follow])
            upto, flag = follow, TO_FOLD if most >= _FOLDING else OWN_SHINGLE
        entry = _intern(entries, text, at, upto, alphabet.lower, flag)
        if entry < 0:
            return -1
        found[written] = entry
        written += 1
        at = follow
    return written


def _back(text: Any, at: int) -> int:
    at -= 1
    while text[at] & 0xC0 == 0x80:
        at -= 1
    return at

"""Compiled passes that make sets comparable: MinHash signatures, band hashes and their order, bitmaps."""

from typing import Any

import numpy as np

from persona_assets.dedup.set_kernels import Sets

_SPREAD = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(32)
_DIGIT_BITS, _PASSES = 11, 3
_DIGITS = 1 << _DIGIT_BITS


def sign(sets: Sets, rows: Any, hashes: Any, multipliers: Any, increments: Any, out: Any) -> None:
    """Write MinHash values: least `multiplier * hash + increment` modulo 2**32 over each set."""
    width = len(multipliers)
    for place in range(len(rows)):
        row = rows[place]
        least = out[place]
        least[:] = 0xFFFFFFFF
        for at in range(sets.starts[row], sets.starts[row + 1]):
            value = hashes[sets.ids[at]]
            for k in range(width):
                least[k] = min(least[k], np.uint32(multipliers[k] * value + increments[k]))


def band(signatures: Any, rows: int, out: Any) -> None:
    """Write a 32-bit hash of every band, `rows` values each; the last may wrap round to the first values."""
    width = signatures.shape[1]
    for place in range(len(signatures)):
        for k in range(out.shape[1]):
            value = np.uint64(k)
            for at in range(k * rows, (k + 1) * rows):
                value = (value ^ np.uint64(signatures[place, at % width])) * _SPREAD
                value ^= value >> _HALF
            out[place, k] = np.uint32(value)


def bucket_keys(bands: Any, number: int, places: Any, keys: Any, spare: Any) -> Any:
    """Make a key for each place (its band's hash above, the place in the low 32 bits), and sort the keys.

    Three stable passes of eleven bits each over the hash, which for ascending places sort the whole
    key; a comparison sort takes several times as long. Uses both arrays, returns the sorted one.
    """
    counts = np.zeros((_PASSES, _DIGITS), np.int64)
    for k in range(len(places)):
        place = places[k]
        value = np.uint64(bands[place, number])
        keys[k] = (value << _HALF) | np.uint64(place)
        for step in range(_PASSES):
            counts[step, (value >> np.uint64(_DIGIT_BITS * step)) & np.uint64(_DIGITS - 1)] += 1
    for step in range(_PASSES):
        total = 0
        for digit in range(_DIGITS):
            count = counts[step, digit]
            counts[step, digit] = total
            total += count
        for k in range(len(keys)):
            digit = (keys[k] >> np.uint64(32 + _DIGIT_BITS * step)) & np.uint64(_DIGITS - 1)
            spare[counts[step, digit]] = keys[k]
            counts[step, digit] += 1
        keys, spare = spare, keys
    return keys


def bitmaps(sets: Sets, rows: Any, out: Any) -> None:
    """Write for every set the parity of its numbers over 256 bits.

    Two sets differ in at least as many numbers as their bitmaps differ in bits.
    """
    for place in range(len(rows)):
        row = rows[place]
        out[place, :] = 0
        for at in range(sets.starts[row], sets.starts[row + 1]):
            bit = (np.uint64(sets.ids[at]) * _SPREAD) >> np.uint64(56)
            out[place, bit >> np.uint64(6)] ^= np.uint64(1) << (bit & np.uint64(63))

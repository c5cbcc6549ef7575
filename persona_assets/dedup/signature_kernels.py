"""Compiled passes that make sets comparable: MinHash signatures, band hashes and their order, bitmaps."""

from typing import Any

import numpy as np

from persona_assets.dedup.set_kernels import Sets

_SPREAD = np.uint64(0xFF51AFD7ED558CCD)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # multiples of it spread evenly: few common shingles share a bit
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
    bands = len(out)
    values = np.empty(bands, np.uint64)
    for place in range(len(signatures)):
        for k in range(bands):
            values[k] = np.uint64(k)
        # Value by value, so that the processor works on many bands at a time.
        for step in range(rows):
            for k in range(bands):
                at = k * rows + step
                value = (values[k] ^ np.uint64(signatures[place, at if at < width else at - width])) * _SPREAD
                values[k] = value ^ (value >> _HALF)
        for k in range(bands):
            out[k, place] = np.uint32(values[k])


def bucket_keys(bands: Any, number: int, places: Any, keys: Any, spare: Any) -> Any:
    """Make a key for each place (its band's hash above, the place in the low 32 bits), and sort the keys.

    Three stable passes of eleven bits each over the hash, which for ascending places sort the whole
    key; a comparison sort takes several times as long. Uses both arrays, returns the sorted one.
    """
    counts = np.zeros((_PASSES, _DIGITS), np.int64)
    for k in range(len(places)):
        place = places[k]
        value = np.uint64(bands[number, place])
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


def long_runs(keys: Any, length: int) -> tuple[list[int], list[int]]:
    """Find where runs of more than `length` keys of one hash begin and end."""
    begins, ends = [0 for _ in range(0)], [0 for _ in range(0)]
    start = 0
    while start + length < len(keys):
        if keys[start] >> _HALF != keys[start + length] >> _HALF:
            # No long run begins here, nor at any other key of this hash.
            hash_here = keys[start] >> _HALF
            while keys[start] >> _HALF == hash_here:
                start += 1
            continue
        stop = start + length
        while stop < len(keys) and keys[stop] >> _HALF == keys[start] >> _HALF:
            stop += 1
        begins.append(start)
        ends.append(stop)
        start = stop
    return begins, ends


def bitmaps(sets: Sets, rows: Any, out: Any) -> None:
    """Write for every set the parity of its numbers over 256 bits.

    Two sets differ in at least as many numbers as their bitmaps differ in bits.
    """
    for place in range(len(rows)):
        row = rows[place]
        out[place, :] = 0
        for at in range(sets.starts[row], sets.starts[row + 1]):
            bit = (np.uint64(sets.ids[at]) * _GOLDEN) >> np.uint64(56)
            out[place, bit >> np.uint64(6)] ^= np.uint64(1) << (bit & np.uint64(63))

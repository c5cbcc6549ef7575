"""Compiled passes over vectors: which entries of a tile may reach the floor, and the products that decide."""

from typing import Any, NamedTuple

import numpy as np

_STRIP = 128
_LANES = 8


class Scanned(NamedTuple):
    """Where a scan of a tile stands: the first row not done, and how many places are written."""

    row: int
    written: int


def reaching(
    tile: Any, left_tails: Any, right_tails: Any, least: Any, diagonal: bool, places: Any, scanned: Scanned
) -> Scanned:
    """Write to `places` the (row, column) of entries with `tile + left_tail * right_tail >= least`.

    With `diagonal`, only columns right of the row count. Stops before a row that might not find room.
    """
    height, width = tile.shape
    written = scanned.written
    for row in range(scanned.row, height):
        if written + width > len(places):
            return Scanned(row, written)
        tail = left_tails[row]
        for start in range(row + 1 if diagonal else 0, width, _STRIP):
            values = tile[row, start : start + _STRIP]
            tails = right_tails[start : start + _STRIP]
            # One pass without branches, which the processor does many entries at a time.
            some = np.uint32(0)
            for k in range(len(values)):
                some |= np.uint32(values[k] + tail * tails[k] >= least)
            if some:
                for k in range(len(values)):
                    if values[k] + tail * tails[k] >= least:
                        places[written, 0] = row
                        places[written, 1] = start + k
                        written += 1
    return Scanned(height, written)


def products(vectors: Any, left: Any, right: Any, out: Any) -> None:
    """Write the dot product of each pair of rows, summed in float64 and rounded to float32."""
    width = vectors.shape[1]
    even = width - width % _LANES
    sums = np.empty(_LANES, np.float64)
    for pair in range(len(left)):
        one = vectors[left[pair]]
        other = vectors[right[pair]]
        sums[:] = 0.0
        for at in range(0, even, _LANES):
            for lane in range(_LANES):
                sums[lane] += np.float64(one[at + lane]) * np.float64(other[at + lane])
        total = 0.0
        for lane in range(_LANES):
            total += sums[lane]
        for at in range(even, width):
            total += np.float64(one[at]) * np.float64(other[at])
        out[pair] = np.float32(total)

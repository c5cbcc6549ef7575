"""What the compiled search for pairs works on."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup.set_kernels import Sets


class Indexed(NamedTuple):
    """Sets to compare: their rows and sizes, band hashes and bitmaps (see `BandIndex`).

    `dense` (uint8 by place) tells which have too many duplicates to list: pairs of two such are left out.
    """

    sets: Sets
    rows: NDArray[np.int64]
    sizes: NDArray[np.int32]
    bands: NDArray[np.uint32]
    bitmaps: NDArray[np.uint64]
    dense: NDArray[np.uint8]


class Pairs(NamedTuple):
    """Room for verified pairs: int32, int32, float64."""

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    similarity: NDArray[np.float64]


class Walk(NamedTuple):
    """Where a walk over buckets stands.

    Attributes:
        start: Where the bucket begins in the keys.
        place: Members of the bucket that are done.
        written: Pairs written.
        compared: Pairs whose sets were intersected, at each meeting.
    """

    start: int
    place: int
    written: int
    compared: int


class Bucket(NamedTuple):
    """Scratch for the members of one bucket, side by side.

    Attributes:
        member: int64 places in the index.
        words: uint64, shape (4, members): their bitmaps by column.
        reach: int64, how much each set adds to the bits that a pair may differ in, in 65536ths.
    """

    member: NDArray[np.int64]
    words: NDArray[np.uint64]
    reach: NDArray[np.int64]


class Postings(NamedTuple):
    """What an index of a crowd's rarest shingles is made of; members are numbered from small to large sets.

    Attributes:
        members: int64 places in the index.
        sizes: int64 set sizes.
        prefixes: int32, each member's rarest shingles (renumbered from 0), rarest first.
        starts: int64, member m looks up `prefixes[starts[m]:starts[m + 1]]`.
        entered: int64, and is found under the first so many of them.
        begins: int64 by shingle, where the list of its members begins; moved past those too small.
        ends: int64 by shingle, where it ends so far.
        lists: int32, the members found under each shingle.
        stamps: int64 by member, the last one that met it.
    """

    members: NDArray[np.int64]
    sizes: NDArray[np.int64]
    prefixes: NDArray[np.int32]
    starts: NDArray[np.int64]
    entered: NDArray[np.int64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    lists: NDArray[np.int32]
    stamps: NDArray[np.int64]

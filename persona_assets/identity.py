"""Identifiers and draws that depend on content alone, so that the same input gives the same output."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def digest(*parts: object, size: int = 8) -> str:
    """Hash the parts with BLAKE2b to `size` bytes, as hex digits.

    Parts are length-prefixed, so ("ab", "c") and ("a", "bc") differ.
    """
    state = hashlib.blake2b(digest_size=size)
    for part in parts:
        encoded = str(part).encode("utf-8", "surrogatepass")
        state.update(len(encoded).to_bytes(8, "little"))
        state.update(encoded)
    return state.hexdigest()


def draw(*parts: object) -> int:
    """Draw a 64-bit number from the parts: uniform over content, the same every time."""
    return int(digest(*parts), 16)


def fraction(*parts: object) -> float:
    """Draw a number in [0, 1) from the parts."""
    # 53 bits: more would round up to 1.0 as a float.
    return (draw(*parts) >> 11) / (1 << 53)


def shuffled(items: Sequence[T], *parts: object) -> list[T]:
    """Return the items in an order drawn from the parts."""
    order = sorted(range(len(items)), key=lambda rank: draw(*parts, rank))
    return [items[rank] for rank in order]

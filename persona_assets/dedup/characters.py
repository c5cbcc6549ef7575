"""What each character does to the run of text it stands in, as a table for the compiled scanner.

The scanner cuts raw UTF-8 into runs between separators and interns each distinct run once; what a
run's shingles are is decided by `shingles` itself. The classes only say where it is safe to cut, and
which runs are their own shingle, so that the two can never disagree about a character.
"""

import re
import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from persona_assets.dedup.shingles import CJK, folded

SEPARATOR = 0  # ends a run
LETTER = 1  # folded already, joins words, composes with nothing before it
IDEOGRAPH = 2  # Han or Kana, folded already: cut into bigrams
FOLDING = 3  # becomes letters and digits when folded: the run has to be folded
BINDING = 4  # anything else (marks, what vanishes, what turns into Han): the run is taken as a whole
UNKNOWN = 255  # not looked up yet

_BLOCK = 256
_BASIC_PLANE = 0x10000
_CONJOINING_JAMO = ((0x1100, 0x11FF), (0xA960, 0xA97F), (0xD7B0, 0xD7FF))
_IDEOGRAPHS = re.compile(f"[{CJK}]+")


@cache
def class_table() -> NDArray[np.uint8]:
    """Classes by code point, shape (0x110000,); UNKNOWN outside ASCII until `learn` is called.

    There is one table per process: entries are only ever filled in, and always with the same value.
    """
    table = np.full(0x110000, UNKNOWN, np.uint8)
    for point in range(128):
        table[point] = LETTER if chr(point).isalnum() else SEPARATOR
    return table


def learn(point: int) -> None:
    """Fill in the classes of the 256 characters around `point`."""
    table = class_table()
    first = point - point % _BLOCK
    for near in range(first, first + _BLOCK):
        table[near] = character_class(near)


def character_class(point: int) -> int:
    """Class of one character outside ASCII."""
    character = chr(point)
    result = folded(character)
    category = unicodedata.category(character)[0]
    if category == "M" or unicodedata.combining(character):
        return BINDING
    if result.isspace():
        return SEPARATOR
    if _IDEOGRAPHS.fullmatch(result):
        return IDEOGRAPH if result == character else BINDING
    conjoins = any(first <= point <= last for first, last in _CONJOINING_JAMO)
    if category not in "LN" or conjoins or point >= _BASIC_PLANE:
        return BINDING
    if result == character:
        return LETTER
    plain = result.isalnum() and not _IDEOGRAPHS.search(result)
    return FOLDING if plain else BINDING

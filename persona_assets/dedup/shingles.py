r"""What two texts are compared by: words, and character bigrams where the script has no spaces.

The rule, the same for every language so that mixed text is cut alike everywhere:

- Text is folded first: NFKC, Unicode case folding, NFKC again. A dot above that follows `i` is
  dropped, so that Turkish "İyi" and "iyi" meet.
- A word is a run of Unicode letters, numbers and marks that begins with a letter or number. Marks
  belong to it (Python's `\w` splits Hindi and vocalised Arabic at each of them); marks without a
  base, emoji and punctuation belong to no word.
- Apostrophes and hyphens separate ("l'aigua" is "l", "aigua"; "well-known" is "well", "known"), in
  all spellings: `'`, `’`, and the letter-like U+02BB to U+02BD. So does the decimal point.
- Arabic vowel signs and the other nonspacing marks of the Arabic blocks are dropped once NFKC has
  composed what can be composed (hamza and madda on their carriers stay), and so is tatweel: the
  vocalised and the bare spelling are one word.
- Invisible characters (soft hyphen, joiners, direction marks, variation selectors) and
  enclosing marks (keycaps) are dropped; the zero-width space separates.
- Runs of Han and Kana become overlapping character bigrams, the convention of CJK analyzers; a lone
  character is itself. Hangul, written with spaces, is cut into words.
"""

import re
import unicodedata

from persona_assets.languages import ShingleRule

# Han with its iteration mark and numerals, Hiragana, Katakana with the prolonged sound mark, and the
# planes of rare ideographs and old kana; unassigned points among them are separators all the same.
CJK = (
    "\u3005\u3007\u3021-\u3029\u3038-\u303c\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
_CJK_RUNS = re.compile(f"([{CJK}]+)")

_ARABIC_BLOCKS = ((0x0600, 0x06FF), (0x0750, 0x077F), (0x0870, 0x08FF), (0x10EC0, 0x10EFF))
_TATWEEL = 0x0640
_ZERO_WIDTH_SPACE = 0x200B
_LETTER_APOSTROPHES = range(0x02BB, 0x02BE)
_SEPARATOR = 0x20
# Tone and voicing marks that found no character to compose with would cut a run of Han or Kana.
_CJK_MARKS = (*range(0x302A, 0x3030), 0x3099, 0x309A)
_VARIATION_SELECTORS = (*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))


class _Roles(dict[int, int | None]):
    """A `str.translate` table, filled as characters are met: dropped, separator, or left alone."""

    def __missing__(self, point: int) -> int | None:
        role = _role(point)
        self[point] = role
        return role


def _role(point: int) -> int | None:
    category = unicodedata.category(chr(point))
    if point == _TATWEEL or point in _CJK_MARKS or point in _VARIATION_SELECTORS:
        return None
    if category == "Me" or (category == "Cf" and point != _ZERO_WIDTH_SPACE):
        return None
    if category == "Mn" and any(first <= point <= last for first, last in _ARABIC_BLOCKS):
        return None
    if category[0] in "LNM" and point not in _LETTER_APOSTROPHES:
        return point
    return _SEPARATOR


_ROLES = _Roles()


def folded(text: str) -> str:
    """Fold case and compatibility forms, drop what is invisible, and turn separators into spaces."""
    if text.isascii():
        return text.lower().translate(_ROLES)
    folds = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folds.translate(_ROLES).replace("i\u0307", "i")


def shingles(text: str, rule: ShingleRule) -> list[str]:
    """Cut `text` into its distinct shingles, in order of first appearance.

    The module's docstring has the rule. `rule` says how the language is written, which decides
    nothing here: Han and Kana are recognised by their script in either, so that a Chinese name in a
    Spanish text and an English one in a Chinese text are cut as at home.
    """
    found: dict[str, None] = {}
    for run in folded(text).split(" "):
        if run.isascii():
            if run:
                found[run] = None
        else:
            found.update(dict.fromkeys(_cut(run)))
    return list(found)


def _cut(run: str) -> list[str]:
    pieces: list[str] = []
    # Splitting at a captured group puts the Han and Kana runs at the odd places.
    for place, piece in enumerate(_CJK_RUNS.split(run)):
        if place % 2:
            pieces += [piece[at : at + 2] for at in range(max(1, len(piece) - 1))]
        elif word := _without_leading_marks(piece):
            pieces.append(word)
    return pieces


def _without_leading_marks(piece: str) -> str:
    start = 0
    while start < len(piece) and unicodedata.category(piece[start])[0] == "M":
        start += 1
    return piece[start:]

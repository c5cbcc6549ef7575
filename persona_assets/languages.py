"""The languages of the platform, read from `languages.toml`."""

import difflib
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from persona_assets.errors import LanguageError

LANGUAGES_FILE = Path(__file__).parent / "languages.toml"

ShingleRule = Literal["words", "han"]


class Language(BaseModel):
    """One language: its names, its codes in the label sets in use, and how its text is cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    name: str
    endonym: str
    iso639_3: str
    script: str
    glotlid: tuple[str, ...]
    lid176: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    shingles: ShingleRule
    seeds: str


@cache
def languages() -> dict[str, Language]:
    """Every language by its ISO 639-1 code, in the order of `languages.toml`."""
    entries = tomllib.loads(LANGUAGES_FILE.read_text(encoding="utf-8"))
    return {code: Language(code=code, **entry) for code, entry in entries.items()}


@cache
def language_of_label(label: str) -> Language | None:
    """The language that a label of any label set stands for; None if it is none of ours.

    Known are ISO 639-1 and 639-3 codes, the labels of GlotLID and lid.176, and the aliases.
    """
    for entry in languages().values():
        if label in (entry.code, entry.iso639_3, *entry.glotlid, *entry.lid176, *entry.aliases):
            return entry
    return None


def language(code: str) -> Language:
    """Look a language up by its ISO 639-1 code.

    Raises:
        LanguageError: the code is not in `languages.toml`; the message names the nearest that is.
    """
    known = languages()
    if code in known:
        return known[code]
    by_name = {entry.name.lower(): entry.code for entry in known.values()}
    if code.lower() in by_name:
        return known[by_name[code.lower()]]
    near = difflib.get_close_matches(code, [*known, *by_name], n=1)
    hint = f"did you mean {by_name.get(near[0], near[0])!r}? " if near else ""
    raise LanguageError(f"unknown language {code!r}: {hint}known are {', '.join(known)}")


def parse_codes(text: str | None) -> Sequence[str]:
    """Read a comma-separated list of language codes; None or empty means all of them.

    Raises:
        LanguageError: a code is unknown.
    """
    if not text:
        return list(languages())
    return list(dict.fromkeys(language(part.strip()).code for part in text.split(",") if part.strip()))

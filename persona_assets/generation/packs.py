"""Prompt packs: everything a model reads in one language, one TOML file per language."""

import hashlib
import json
import string
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from persona_assets.errors import PromptPackError

PACKS_FOLDER = Path(__file__).parents[1] / "prompts"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_Part):
    """A system prompt, a user template, and the relations that can be asked for."""

    system: str
    template: str
    relations: Mapping[str, str]


class Conversation(_Part):
    """A system prompt, a user template, and what is asked for each conversation type."""

    system: str
    template: str
    types: Mapping[str, str]


class PromptPack(_Part):
    """The prompts of one language. `version` is a hash of the content, comments aside."""

    language: str
    title: str
    version: str
    details: Mapping[str, str]
    text_to_persona: Question
    persona_to_persona: Question
    conversation: Conversation
    themes: Mapping[str, str]


_PLACEHOLDERS = {
    "text_to_persona": {"relation", "detail", "document"},
    "persona_to_persona": {"relation", "detail", "persona"},
    "conversation": {"task", "exchanges", "themes", "persona"},
}
_KEYS = {
    ("details",): {"phrase", "sentence", "paragraph"},
    ("text_to_persona", "relations"): {"read", "write", "like", "dislike"},
    ("persona_to_persona", "relations"): {"family", "work", "care", "community", "opponent", "unseen"},
    ("conversation", "types"): {"general", "reasoning"},
}


@cache
def load_pack(lang: str, folder: Path = PACKS_FOLDER) -> PromptPack:
    """Load and check the prompt pack of a language.

    Raises:
        PromptPackError: no such file, not TOML, a key missing or unknown, a placeholder missing or unknown.
    """
    path = folder / f"{lang}.toml"
    if not path.is_file():
        raise PromptPackError(f"no prompt pack for {lang!r}: expected {path}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        pack = PromptPack(version=_version(content), **content)
    except tomllib.TOMLDecodeError as error:
        raise PromptPackError(f"prompt pack {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise PromptPackError(f"prompt pack {path}: {place}: {fault['msg'].lower()}") from None
    _check(path, content)
    return pack


def fill(template: str, **values: object) -> str:
    """Put the values into a template's `$placeholders`; the values themselves are never expanded."""
    return string.Template(template).substitute(values)


def _version(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(canonical.encode(), digest_size=6).hexdigest()


def _check(path: Path, content: Mapping[str, Any]) -> None:
    for place, expected in _KEYS.items():
        part: Mapping[str, Any] = content
        for step in place:
            part = part[step]
        if set(part) != expected:
            odd = ", ".join(sorted(set(part) ^ expected))
            raise PromptPackError(f"prompt pack {path}: {'.'.join(place)} has missing or unknown keys: {odd}")
    for name, expected in _PLACEHOLDERS.items():
        template = string.Template(content[name]["template"])
        if not template.is_valid() or set(template.get_identifiers()) != expected:
            wanted = ", ".join(f"${placeholder}" for placeholder in sorted(expected))
            raise PromptPackError(f"prompt pack {path}: {name}.template must use exactly {wanted}")

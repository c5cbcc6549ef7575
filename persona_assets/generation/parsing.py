"""Reading JSON out of what a model wrote, leniently in form, without ever inventing content."""

import json
import re
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
EXCERPT_CHARS = 300


@dataclass(frozen=True)
class ReplyFault:
    """Why a reply gives nothing: a named reason and the evidence for it."""

    reason: str
    evidence: str


def parse_json(text: str) -> Any | ReplyFault:
    """Parse the JSON value in a reply.

    Accepted beyond strict JSON: a code fence, prose before or after the one object, raw control
    characters inside strings. Not accepted: anything that would need a guess, such as a truncated
    object or an unescaped quotation mark.
    """
    bare = text.strip().lstrip("\ufeff")
    if not bare:
        return ReplyFault("empty_reply", "")
    candidates = [bare, *(match.group(1) for match in _FENCE.finditer(bare))]
    problem = ""
    for candidate in candidates:
        try:
            return json.loads(candidate, strict=False)
        except ValueError as error:
            problem = problem or str(error)
    start = bare.find("{")
    if start >= 0:
        try:
            value, _ = json.JSONDecoder(strict=False).raw_decode(bare, start)
        except ValueError as error:
            problem = str(error)
        else:
            return value
    return ReplyFault("invalid_json", problem)


def excerpt(text: str, chars: int = EXCERPT_CHARS) -> str:
    """Shorten a reply for a table of rejections: whitespace collapsed, at most `chars` characters."""
    collapsed = " ".join(text.split())
    return collapsed if len(collapsed) <= chars else collapsed[: chars - 1] + "…"


def clean_text(text: str) -> str:
    """Trim a text and take out what neither DuckDB nor Parquet can hold: NULs and lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8").strip()

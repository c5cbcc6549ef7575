"""The filters a persona must pass, each with a name, a measurement and a threshold.

mPersonas (dataset card, filtering): the persona must be in the language of its seed document, with a
language identification score of at least 0.5.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from persona_assets.filters.language_id import Detected, LanguageIdentifier
from persona_assets.languages import Language
from persona_assets.settings import FilterSettings

REJECTED_SCHEMA = {
    "lang": pl.String,
    "persona_id": pl.String,
    "stage": pl.String,
    "reason": pl.String,
    "score": pl.Float64,
    "threshold": pl.Float64,
    "evidence": pl.String,
}


@dataclass(frozen=True)
class Rejection:
    """The rule that refused a text, what it measured, its threshold, and the evidence."""

    stage: str
    reason: str
    score: float | None = None
    threshold: float | None = None
    evidence: str | None = None


@dataclass(frozen=True)
class Verdicts:
    """Every persona of the input, once: `kept` with what was detected, `rejected` with the rule."""

    kept: pl.DataFrame
    rejected: pl.DataFrame


def judge_personas(
    raw: pl.DataFrame, language: Language, identifier: LanguageIdentifier, settings: FilterSettings
) -> Verdicts:
    """Apply the filters to personas (columns `persona_id`, `persona` and any others, which are kept)."""
    detected = identifier.identify(raw["persona"].to_list())
    rejections: list[dict[str, Any]] = []
    kept: list[bool] = []
    labels = identifier.labels_of(language)
    for persona_id, persona, found in zip(raw["persona_id"], raw["persona"], detected, strict=True):
        rejection = _length(persona, settings) or judge_language(found, labels, settings.min_language_score)
        kept.append(rejection is None)
        if rejection:
            rejections.append({"lang": language.code, "persona_id": persona_id, **vars(rejection)})
    judged = raw.with_columns(
        pl.Series("detected_lang", [found.label for found in detected], dtype=pl.String),
        pl.Series("language_score", [found.score for found in detected], dtype=pl.Float64),
    )
    return Verdicts(
        kept=judged.filter(pl.Series(kept, dtype=pl.Boolean)),
        rejected=pl.DataFrame(rejections, schema=REJECTED_SCHEMA),
    )


def judge_language(found: Detected, labels: tuple[str, ...], min_score: float) -> Rejection | None:
    """Refuse a text whose best label is another language, or whose score is under the threshold."""
    if found.label not in labels:
        return Rejection("language", "other_language", found.score, min_score, found.label)
    if found.score < min_score:
        return Rejection("language", "language_score", found.score, min_score, found.label)
    return None


def _length(persona: str, settings: FilterSettings) -> Rejection | None:
    chars = len(persona)
    if chars < settings.min_chars:
        return Rejection("length", "too_short", chars, settings.min_chars)
    if chars > settings.max_chars:
        return Rejection("length", "too_long", chars, settings.max_chars)
    return None

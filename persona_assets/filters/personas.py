"""The filters a persona must pass, each with a name, a measurement and a threshold.

mPersonas (dataset card, filtering): the persona must be in the language of its seed document, with a
language identification score of at least 0.5.
"""

from dataclasses import dataclass

import polars as pl

from persona_assets.filters.language_id import LanguageIdentifier
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
    found = identifier.identify(raw["persona"].to_list())
    judged = raw.with_columns(
        pl.Series("detected_lang", [one.label for one in found], dtype=pl.String),
        pl.Series("language_score", [one.score for one in found], dtype=pl.Float64),
    )
    refused = judged.with_columns(_reason(identifier.labels_of(language), settings).alias("reason"))
    return Verdicts(
        kept=judged.filter(refused["reason"].is_null()),
        rejected=_rejected(refused.drop_nulls("reason"), language, settings),
    )


def _reason(labels: tuple[str, ...], settings: FilterSettings) -> pl.Expr:
    chars = pl.col("persona").str.len_chars()
    return (
        pl.when(chars < settings.min_chars)
        .then(pl.lit("too_short"))
        .when(chars > settings.max_chars)
        .then(pl.lit("too_long"))
        .when(~pl.col("detected_lang").is_in(labels))
        .then(pl.lit("other_language"))
        .when(pl.col("language_score") < settings.min_language_score)
        .then(pl.lit("language_score"))
    )


def _rejected(refused: pl.DataFrame, language: Language, settings: FilterSettings) -> pl.DataFrame:
    """The rule, measurement and threshold of each refusal; the reason is known already."""
    by_length = pl.col("reason").is_in(["too_short", "too_long"])
    limits = {"too_short": settings.min_chars, "too_long": settings.max_chars}
    return refused.select(
        lang=pl.lit(language.code),
        persona_id="persona_id",
        stage=pl.when(by_length).then(pl.lit("length")).otherwise(pl.lit("language")),
        reason="reason",
        score=pl.when(by_length).then(pl.col("persona").str.len_chars().cast(pl.Float64)).otherwise("language_score"),
        threshold=pl.col("reason").replace_strict(limits, default=settings.min_language_score, return_dtype=pl.Float64),
        evidence=pl.when(~by_length).then("detected_lang"),
    ).match_to_schema(REJECTED_SCHEMA)

"""What was used: requests, tokens, latency and cost, of a stage or of everything in the ledger."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from persona_assets.llm.failures import classes_of
from persona_assets.llm.progress import Tally
from persona_assets.settings import PriceSettings


def usage_facts(tallies: Sequence[Tally], answers: pl.DataFrame, reasons: Iterable[str] = ()) -> dict[str, Any]:
    """Sum up a stage: what was asked now, what came from the ledger, what the answers cost, what failed.

    `answers` has `prompt_tokens`, `completion_tokens` and `latency_s` (seconds), null where the
    endpoint reports none; token sums count what is known. `reasons` are those of replies that could
    not be used. `cost` is what this run spent, in the currency of the prices; without prices there is
    none. `failure_classes` counts requests and replies by class (`persona_assets.llm.failures`).
    """
    failed = sum((tally.failed for tally in tallies), Counter[str]())
    facts: dict[str, Any] = {
        "asked_now": sum(tally.answered for tally in tallies),
        "from_ledger": sum(tally.from_ledger for tally in tallies),
        "failed": failed.total(),
        "prompt_tokens": int(answers["prompt_tokens"].sum() or 0),
        "completion_tokens": int(answers["completion_tokens"].sum() or 0),
        "failure_classes": dict(sorted((failed + classes_of(reasons)).items())),
    }
    costs = [tally.cost for tally in tallies if tally.cost is not None]
    if costs:
        facts["cost"] = round(sum(costs), 6)
    latency = answers["latency_s"].drop_nulls()
    if latency.len():
        facts["latency_p50_s"] = round(float(latency.quantile(0.5) or 0.0), 3)
        facts["latency_p95_s"] = round(float(latency.quantile(0.95) or 0.0), 3)
    return facts


USAGE_GROUPS = ("lang", "stage", "model", "day")
_ANSWERS = """
select model, substr(answered_at, 1, 10) as day, prompt_tokens, cached_tokens, completion_tokens, latency_s, attempts
from answers
"""
_ANSWER_SCHEMA = {
    "model": pl.String,
    "day": pl.String,
    "prompt_tokens": pl.Int64,
    "cached_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "latency_s": pl.Float64,
    "attempts": pl.Int64,
}


def ledger_usage(
    ledger_folder: Path,
    by: Sequence[str] = USAGE_GROUPS,
    *,
    languages: Sequence[str] | None = None,
    prices: PriceSettings | None = None,
) -> pl.DataFrame:
    """Sum up every answer in the ledgers of a home, in groups.

    Args:
        ledger_folder: the ledger folder of a home.
        by: columns to group by, of `lang`, `stage`, `model` and `day` (UTC).
        languages: only these (ISO 639-1); None is all.
        prices: adds `cost` in their currency, at these prices for whatever was asked then.

    Returns:
        `by`, then `answers`, `attempts`, `prompt_tokens`, `cached_tokens`, `completion_tokens`,
        `latency_p50_s`, `latency_p95_s` (seconds), `cost` where there are prices; sorted by `by`. Sums
        and percentiles are over what the endpoints report.
    """
    frames = [pl.DataFrame(schema={"lang": pl.String, "stage": pl.String, **_ANSWER_SCHEMA})]
    for path in sorted(ledger_folder.glob("*/*.sqlite")):
        lang, stage = path.parent.name, path.stem
        if languages is None or lang in languages:
            with closing(sqlite3.connect(path)) as connection:
                rows = connection.execute(_ANSWERS).fetchall()
            frame = pl.DataFrame(rows, schema=_ANSWER_SCHEMA, orient="row")
            frames.append(frame.select(pl.lit(lang).alias("lang"), pl.lit(stage).alias("stage"), pl.all()))
    sums = [pl.col(name).sum() for name in ("attempts", "prompt_tokens", "cached_tokens", "completion_tokens")]
    latencies = [
        pl.col("latency_s").quantile(share).round(3).alias(f"latency_p{share * 100:.0f}_s") for share in (0.5, 0.95)
    ]
    grouped = pl.concat(frames).group_by(by).agg(pl.len().alias("answers"), *sums, *latencies).sort(by)
    return grouped if prices is None else grouped.with_columns(_cost(prices).round(4).alias("cost"))


def _cost(prices: PriceSettings) -> pl.Expr:
    cached_price = prices.input if prices.cached_input is None else prices.cached_input
    fresh = pl.col("prompt_tokens") - pl.col("cached_tokens")
    parts = fresh * prices.input + pl.col("cached_tokens") * cached_price + pl.col("completion_tokens") * prices.output
    return parts / 1_000_000

"""What a stage used: requests, tokens and latency, as numbers that can be plotted."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from persona_assets.llm.progress import Tally


def usage_facts(tallies: Sequence[Tally], answers: pl.DataFrame) -> dict[str, Any]:
    """Sum up a stage: what was asked now, what came from the ledger, and what the answers cost.

    `answers` has `prompt_tokens`, `completion_tokens` and `latency_s` (seconds), null where the
    endpoint reports none; token sums count what is known.
    """
    facts: dict[str, Any] = {
        "asked_now": sum(tally.answered for tally in tallies),
        "from_ledger": sum(tally.from_ledger for tally in tallies),
        "failed": sum(sum(tally.failed.values()) for tally in tallies),
        "prompt_tokens": int(answers["prompt_tokens"].sum() or 0),
        "completion_tokens": int(answers["completion_tokens"].sum() or 0),
    }
    latency = answers["latency_s"].drop_nulls()
    if latency.len():
        facts["latency_p50_s"] = round(float(latency.quantile(0.5) or 0.0), 3)
        facts["latency_p95_s"] = round(float(latency.quantile(0.95) or 0.0), 3)
    return facts

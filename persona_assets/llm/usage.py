"""What was used: requests, tokens, latency and cost, of a stage or of everything in the ledger."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from persona_assets.llm.failures import classes_of
from persona_assets.llm.progress import Tally


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

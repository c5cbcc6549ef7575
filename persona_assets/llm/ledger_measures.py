"""What the ledger of a home knows of a model: how long its replies are, how fast they come, and some of them."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persona_assets.llm.ledger import Ledger, ledger_path, read_ledger
from persona_assets.llm.prices import reported_names
from persona_assets.llm.requests import Answer, Request
from persona_assets.ranges import Range, mean_of

# Keys are hashes, so that the first replies by key are a random sample.
_SAMPLE = 300
# Less is no measure of how many requests are answered at once.
_BUSY_MINUTES = 3

_MEASURE = """
select
    count(*) as answers,
    avg(prompt_tokens) as prompt_mean,
    avg(prompt_tokens * prompt_tokens) as prompt_square,
    avg(completion_tokens) as completion_mean,
    avg(completion_tokens * completion_tokens) as completion_square,
    avg(latency_s) as latency_mean,
    avg(latency_s * latency_s) as latency_square,
    count(latency_s) as timed,
    sum(latency_s) as latency_sum,
    count(distinct case when latency_s is not null then substr(answered_at, 1, 16) end) as busy_minutes,
    sum(min(cached_tokens, prompt_tokens)) * 1.0 / sum(prompt_tokens) as cached_share,
    count(case when prompt_tokens > 0 and completion_tokens >= 0 then 1 end) as counted
from answers where model in (select value from json_each(?))
"""


@dataclass(frozen=True)
class StageMeasure:
    """The answers of one model to one stage in one language.

    Token means are per answer, None where the endpoint counts none, latencies in seconds; `in_flight` is
    how many were answered at once on average, None where the time was too short to tell. `texts` are a
    random sample of the replies.
    """

    answers: int
    prompt_tokens: Range | None
    completion_tokens: Range | None
    cached_share: float
    latency_s: Range | None
    in_flight: float | None
    texts: tuple[str, ...]


def measure(ledger_folder: Path, stage: str, lang: str, model: str) -> StageMeasure | None:
    """Measure the answers of `model` in one ledger; None where there are none."""
    if not ledger_path(ledger_folder, stage, lang).is_file():
        return None
    with read_ledger(ledger_folder, stage, lang) as ledger:
        names = _names(ledger, model)
        cursor = ledger.sql(_MEASURE, names)
        found = dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))
        if not found["answers"]:
            return None
        sample = "select text from answers where model in (select value from json_each(?)) order by key limit ?"
        texts = tuple(text for (text,) in ledger.sql(sample, names, _SAMPLE))
    busy_s = 60 * found["busy_minutes"]
    return StageMeasure(
        answers=found["answers"],
        prompt_tokens=_mean(found, "prompt", found["counted"]),
        completion_tokens=_mean(found, "completion", found["counted"]),
        cached_share=found["cached_share"] or 0.0,
        latency_s=_mean(found, "latency", found["timed"]),
        in_flight=found["latency_sum"] / busy_s if found["busy_minutes"] >= _BUSY_MINUTES else None,
        texts=texts,
    )


def answers_to(ledger_folder: Path, stage: str, lang: str, requests: Sequence[Request]) -> dict[str, Answer]:
    """The answers that the ledger holds to these requests, by key."""
    if not ledger_path(ledger_folder, stage, lang).is_file():
        return {}
    with read_ledger(ledger_folder, stage, lang) as ledger:
        found = ledger.lookup(requests)
    return {key: outcome for key, outcome in found.items() if isinstance(outcome, Answer)}


def _names(ledger: Ledger, model: str) -> str:
    pattern = reported_names(model)
    names = [name for (name,) in ledger.sql("select distinct model from answers")]
    return json.dumps([name for name in names if pattern.fullmatch(name)])


def _mean(found: dict[str, float | None], name: str, count: float | None) -> Range | None:
    mean, square = found[f"{name}_mean"], found[f"{name}_square"]
    if not count or mean is None or square is None:
        return None
    return mean_of(mean, math.sqrt(max(0.0, square - mean * mean)), int(count))

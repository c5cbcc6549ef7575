"""What a home has used: every answer ever paid for and every failure, from its ledgers.

The database knows only the answers that its rows rest on; the ledgers know those of partitions that were replaced,
too. The sums are made by SQL, ledger by ledger, in a temporary database on the disk, so that memory stays flat.
"""

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from persona_assets.llm.ledger import read_ledger
from persona_assets.llm.prices import cost_of, reported_names
from persona_assets.settings import PriceSettings

DIMENSIONS = ("stage", "language", "model", "day")
QUANTILES = {"latency_p50_s": 0.5, "latency_p95_s": 0.95, "latency_p99_s": 0.99}
_COPY_ROWS = 10_000

# Percentiles of different ledgers cannot be added, counts of milliseconds can.
_ANSWERS = """
select
    model,
    substr(answered_at, 1, 10) as day,
    cast(round(latency_s * 1000) as integer) as latency_ms,
    count(*),
    sum(attempts),
    sum(prompt_tokens),
    sum(min(cached_tokens, prompt_tokens)),
    sum(completion_tokens),
    sum(prompt_tokens is null or completion_tokens is null)
from answers group by 1, 2, 3
"""
_FAILURES = "select substr(failed_at, 1, 10), kind, count(*), sum(attempts) from failures group by 1, 2"
_TABLES = """
create table answers (
    stage text, language text, model text, day text, latency_ms integer, answers integer, attempts integer,
    prompt_tokens integer, cached_tokens integer, completion_tokens integer, uncounted integer, priced integer
);
create table failures (stage text, language text, model text, day text, kind text, failed integer, attempts integer);
"""
_COUNTS = ("answers", "attempts", "prompt_tokens", "cached_tokens", "completion_tokens", "uncounted")


@dataclass(frozen=True)
class Usage:
    """What one group has used; a dimension that the rows are not grouped by is None.

    `attempts` are those of answers and of failures, `uncounted` answers whose tokens the endpoint did not
    count; latencies are in seconds, None where no answer has one. `cost` is that of the answers, in the
    currency of the prices; None without prices, or where no answer is of the priced model.
    """

    stage: str | None = None
    language: str | None = None
    model: str | None = None
    day: str | None = None
    answers: int = 0
    failed: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class LedgerUsage:
    """The usage by group, in the order of the groups, and of all together; `notes` say what is not in it."""

    groups: tuple[Usage, ...]
    total: Usage
    notes: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "usage": [asdict(group) for group in self.groups],
            "total": asdict(self.total),
            "notes": list(self.notes),
        }


def ledger_usage(
    ledger_folder: Path,
    by: Sequence[str] = ("stage", "language", "model"),
    *,
    languages: Sequence[str] | None = None,
    model: str | None = None,
    prices: PriceSettings | None = None,
) -> LedgerUsage:
    """Sum up the ledgers of a home.

    Percentiles are nearest ranks, exact to the millisecond. Failures have no model: grouped by model,
    they are in a group whose model is None. Attempts whose answer was lost are in no sum of tokens, since
    no endpoint tells what they took.

    Args:
        ledger_folder: the ledger folder of a home.
        by: what to group by, of DIMENSIONS; days are those of UTC.
        languages: only these (ISO 639-1); None is all.
        model: the model that the prices are of; its dated versions are meant, too.
        prices: per million tokens; None leaves the cost out.

    Raises:
        LedgerError: a file is not a ledger.
    """
    priced = reported_names(model or "")
    # The empty name is a temporary file that SQLite removes.
    with closing(sqlite3.connect("", isolation_level=None)) as sums:
        sums.executescript(_TABLES)
        for path in sorted(ledger_folder.glob("*/*.sqlite")):
            if languages is None or path.parent.name in languages:
                _add(sums, ledger_folder, path.stem, path.parent.name, priced)
        groups = tuple(_groups(sums, by, prices))
        total = next(iter(_groups(sums, (), prices)), Usage())
        return LedgerUsage(groups, total, tuple(_notes(sums, total, model, prices)))


def _add(sums: sqlite3.Connection, folder: Path, stage: str, lang: str, priced: "re.Pattern[str]") -> None:
    with read_ledger(folder, stage, lang) as ledger:
        _copy(
            sums,
            "answers",
            ((stage, lang, *row, priced.fullmatch(row[0]) is not None) for row in ledger.sql(_ANSWERS)),
        )
        _copy(sums, "failures", ((stage, lang, None, *row) for row in ledger.sql(_FAILURES)))


def _copy(sums: sqlite3.Connection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    stream = iter(rows)
    while chunk := list(islice(stream, _COPY_ROWS)):
        sums.execute("begin")
        sums.executemany(f"insert into {table} values ({', '.join('?' * len(chunk[0]))})", chunk)
        sums.execute("commit")


def _groups(sums: sqlite3.Connection, by: Sequence[str], prices: PriceSettings | None) -> list[Usage]:
    found: dict[tuple[str | None, ...], dict[str, Any]] = {}
    for name in by:
        if name not in DIMENSIONS:
            raise ValueError(f"no dimension {name!r}")
    for group, facts in [*_answered(sums, by, prices), *_latencies(sums, by)]:
        found.setdefault(group, {}).update(facts)
    for group, kind, failed, attempts in _failed(sums, by):
        facts = found.setdefault(group, {})
        facts.setdefault("failures", {})[kind] = failed
        facts["failed"] = facts.get("failed", 0) + failed
        facts["attempts"] = facts.get("attempts", 0) + attempts
    order = sorted(found, key=lambda group: [(value is None, value or "") for value in group])
    return [Usage(**{**dict(zip(by, group, strict=True)), **found[group]}) for group in order]


def _answered(
    sums: sqlite3.Connection, by: Sequence[str], prices: PriceSettings | None
) -> list[tuple[tuple[str | None, ...], dict[str, Any]]]:
    columns = ", ".join(
        [*by, *(f"sum({name})" for name in _COUNTS)]
        + [f"sum({name}) filter (where priced)" for name in (*_COUNTS[2:5], "answers")]
    )
    rows = []
    for row in sums.execute(f"select {columns} from answers {_grouped(by)}"):
        group, counts, own = row[: len(by)], row[len(by) : len(by) + len(_COUNTS)], row[len(by) + len(_COUNTS) :]
        if counts[0] is None:
            continue
        facts: dict[str, Any] = {name: value or 0 for name, value in zip(_COUNTS, counts, strict=True)}
        if prices and own[3]:
            facts["cost"] = cost_of(prices, prompt=own[0] or 0, cached=own[1] or 0, completion=own[2] or 0)
        rows.append((group, facts))
    return rows


def _latencies(
    sums: sqlite3.Connection, by: Sequence[str]
) -> list[tuple[tuple[str | None, ...], dict[str, float | None]]]:
    over = f"partition by {', '.join(by)}" if by else ""
    ranks = ", ".join(f"min(latency_ms) filter (where rank >= {share} * of)" for share in QUANTILES.values())
    query = f"""
    select {", ".join([*by, ranks])} from (
        select *, sum(answers) over ({over} order by latency_ms) as rank, sum(answers) over ({over}) as of
        from answers where latency_ms is not null
    ) {_grouped(by)}
    """
    return [
        (
            row[: len(by)],
            {
                name: None if value is None else value / 1000
                for name, value in zip(QUANTILES, row[len(by) :], strict=True)
            },
        )
        for row in sums.execute(query)
        if row[-1] is not None
    ]


def _failed(sums: sqlite3.Connection, by: Sequence[str]) -> list[tuple[tuple[str | None, ...], str, int, int]]:
    columns = ", ".join([*by, "kind"])
    rows = sums.execute(
        f"select {columns}, sum(failed), sum(attempts) from failures group by {columns} order by sum(failed) desc, kind"
    )
    return [(row[: len(by)], *row[len(by) :]) for row in rows]


def _grouped(by: Sequence[str]) -> str:
    return f"group by {', '.join(by)}" if by else ""


def _notes(sums: sqlite3.Connection, total: Usage, model: str | None, prices: PriceSettings | None) -> Iterable[str]:
    if prices is None:
        yield "no cost: the profile has no prices (llm.price_per_million)"
    else:
        others = sums.execute("select sum(answers), group_concat(distinct model) from answers where not priced")
        count, models = others.fetchone()
        if count:
            yield f"the prices are those of {model}: {count} answers of {models} are in no cost"
    if total.uncounted:
        yield f"{total.uncounted} answers came without token counts and are in no sum of tokens or cost"
    if total.failed or total.attempts > total.answers:
        yield "attempts without an answer may have cost something, which no endpoint tells: they are in no cost"

"""Who is told how a stage goes on: log lines by default, a live line on a terminal."""

import logging
import time
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

log = logging.getLogger("persona_assets")

LOG_EVERY_S = 10.0


@dataclass
class Tally:
    """Where a stage of one language stands. Times are in seconds of the monotonic clock.

    `failed` counts by class, `excused` those of them that were optional; `limit` is how many requests
    may be in flight at present, `cost` what was spent since the start, None without prices.
    """

    stage: str
    lang: str
    started: float = field(default_factory=time.monotonic)
    total: int | None = None
    from_ledger: int = 0
    answered: int = 0
    in_flight: int = 0
    tokens: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    excused: int = 0
    limit: int = 0
    cost: float | None = None

    @property
    def done(self) -> int:
        """Requests that ended, in whatever way."""
        return self.from_ledger + self.answered + sum(self.failed.values())

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the rate so far, where the total is known."""
        asked = self.answered + sum(self.failed.values())
        if self.total is None or not asked:
            return None
        return (time.monotonic() - self.started) / asked * (self.total - self.done)

    def add(self, tokens: int, cost: float) -> None:
        """Add what an attempt has used."""
        self.tokens += tokens
        if self.cost is not None:
            self.cost += cost

    def count_failure(self, kind: str, *, optional: bool) -> None:
        """Count a request that failed for good."""
        self.failed[kind] += 1
        self.excused += optional

    def failure_counts(self) -> str:
        """The failures by class, the commonest first."""
        return ", ".join(f"{kind} {count}" for kind, count in self.failed.most_common())

    def facts(self) -> dict[str, Any]:
        """The same as `line`, for programs."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        return {
            "stage": self.stage,
            "lang": self.lang,
            "total": self.total,
            "done": self.done,
            "from_ledger": self.from_ledger,
            "answered": self.answered,
            "failed": dict(self.failed),
            "in_flight": self.in_flight,
            "limit": self.limit,
            "tokens": self.tokens,
            "tokens_per_s": round(self.tokens / elapsed, 1),
            "cost": self.cost,
            "eta_s": None if self.eta_s is None else round(self.eta_s, 1),
        }

    def line(self) -> str:
        """One line for a log or a terminal."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        of = f"/{self.total}" if self.total is not None else ""
        parts = [f"{self.lang} {self.stage}: {self.done}{of} done", f"{self.from_ledger} from the ledger"]
        if self.answered or self.in_flight:
            parts += [
                f"{self.answered} asked",
                f"{self.in_flight} in flight (limit {self.limit})",
                f"{self.tokens / elapsed:.0f} tokens/s",
                f"{self.tokens} tokens, no prices set" if self.cost is None else f"cost {self.cost:.4g}",
            ]
        if self.failed:
            parts.append("failed: " + self.failure_counts())
        if self.eta_s is not None and self.eta_s > 1:
            parts.append(f"about {self.eta_s:.0f} s left")
        return ", ".join(parts)


class Standing(Protocol):
    """Where a piece of work stands."""

    def line(self) -> str:
        """One line for a log or a terminal."""
        ...

    def facts(self) -> dict[str, Any]:
        """The same as `line`, for programs."""
        ...


class Reporter(Protocol):
    """Is told after every request that ended, and once at the end of a stage."""

    def update(self, tally: Standing) -> None:
        """Take note of how the stage stands."""
        ...

    def finish(self, tally: Standing) -> None:
        """Take note of the end of the stage."""
        ...


class LogReporter:
    """Writes a log line every ten seconds and one at the end, with `Tally.facts` as fields of the record."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def update(self, tally: Standing) -> None:
        """Log where the stage stands, if the last line is ten seconds old."""
        now = time.monotonic()
        if now - self._last >= LOG_EVERY_S:
            self._last = now
            log.info(tally.line(), extra=tally.facts())

    def finish(self, tally: Standing) -> None:
        """Log the final line."""
        log.info(tally.line(), extra=tally.facts())


reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


def current_reporter() -> Reporter:
    """The reporter in force: the one a command line has set, else log lines."""
    return reporter.get() or LogReporter()

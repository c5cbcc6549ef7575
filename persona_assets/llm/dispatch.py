"""Sends requests as fast as the endpoint bears, again where that helps, and never more than is allowed.

One object, one event loop, no workers: whenever something ends, or its time has come, what may start
is started. A request that waits for another try holds no place, so none can stand in the way of others.
"""

import asyncio
import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from persona_assets.errors import BudgetReachedError, EndpointError, TooManyFailuresError
from persona_assets.llm.engines.base import AskError, Engine, Metered
from persona_assets.llm.ledger import Ledger
from persona_assets.llm.pacing import Pace
from persona_assets.llm.progress import Reporter, Tally
from persona_assets.llm.requests import Answer, Failure, Outcome, Request
from persona_assets.llm.spending import NOTHING, Charge, Obstacle, Purse
from persona_assets.llm.vigil import Vigil
from persona_assets.settings import LlmSettings

FIRST_BACKOFF_S = 0.25
BACKOFF_GROWTH = 3.0
LONGEST_BACKOFF_S = 30.0
# Tries that were not the request's own fault do not count as attempts, but they end some day, too.
MOST_SENDS_PER_ATTEMPT = 5
# So many failures and not one answer: going on would only repeat the message.
HOPELESS_FAILURES = 50
MOST_WAITING = 4096
# Answers that are on their way when the run has to stop are paid for, and worth this wait.
DRAIN_S = 30.0
BUDGET_POLL_S = 0.1


@dataclass(frozen=True)
class Drive:
    """What a stage needs to ask: the ledger it writes, the engine, the settings, and the purse it spends from."""

    ledger: Ledger
    engine: Engine
    settings: LlmSettings
    stage: str
    lang: str
    purse: Purse | None = None


@dataclass(slots=True, eq=False)
class _Open:
    """A request without an outcome yet."""

    request: Request
    sends: int = 0
    strikes: int = 0
    started: float = 0.0
    reserved: Charge = NOTHING
    expected_tokens: float = 0.0


class Dispatcher:
    """Drives the requests of one stage to their outcomes. Made and run in one event loop.

    `open_keys` are the keys of requests that have been pulled and have no outcome yet.

    Args:
        drive: the ledger, engine and settings.
        tally: is kept up to date.
        listener: is told of every request that ended.
    """

    def __init__(self, drive: Drive, tally: Tally, listener: Reporter) -> None:
        self.open_keys: set[str] = set()
        self._missing: Iterator[Request | None] = iter(())
        self._drive = drive
        self._settings = drive.settings
        self._purse = drive.purse or Purse()
        self._metered = drive.engine if isinstance(drive.engine, Metered) else None
        self._tally = tally
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(drive.settings, self._loop.time())
        self._vigil = Vigil(drive.engine, drive.settings, self._pace.governor, self._outage_over)
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._retries: list[tuple[float, int, _Open]] = []
        self._ticket = itertools.count()
        self._next: _Open | None = None
        self._exhausted = False
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._failed_now = 0

    async def run(self, missing: Iterator[Request | None]) -> None:
        """Return when every request has an outcome in the ledger.

        Args:
            missing: distinct requests to ask, pulled only as they can be sent; None lets the loop breathe.

        Raises:
            BudgetReachedError: the next request might cost more than is left.
            EndpointError: no request can succeed until the user changes something.
            StorageError: the ledger cannot be written.
            TooManyFailuresError: requests fail, and none was answered.
        """
        self._missing = missing
        self._pump()
        try:
            await self._done
        finally:
            if self._timer:
                self._timer.cancel()
            self._vigil.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _pump(self) -> None:
        """Start whatever may start now, and see to being called again when more may."""
        if self._done.done():
            return
        try:
            while self._error is None and not self._vigil.outage and self._start_one():
                pass
        except Exception as error:  # noqa: BLE001  (a callback has nobody to raise to)
            self._stop(error)
        self._tally.limit = self._pace.governor.slots
        if not self._tasks and (self._error or (self._exhausted and not self._next and not self._retries)):
            self._finish()

    def _start_one(self) -> bool:
        if len(self._tasks) >= self._pace.governor.slots:
            return False
        now = self._loop.time()
        wait_s = self._pace.wait_s(now)
        if wait_s > 0:
            if not self._tasks:
                self._check_window(now)
            self._call_at(now + wait_s)
            return False
        self._next = self._next or self._due(now) or self._fresh()
        if self._next is None:
            if self._retries:
                self._call_at(self._retries[0][0])
            return False
        reserved = self._purse.reserve(self._next.request)
        if isinstance(reserved, Obstacle):
            if not reserved.pending:
                raise reserved.error()
            # Another stage of the run may hold what is set aside, so nothing here need end.
            self._call_at(now + BUDGET_POLL_S)
            return False
        item, self._next = self._next, None
        item.reserved = reserved
        self._start(item, now)
        return True

    def _due(self, now: float) -> _Open | None:
        return heapq.heappop(self._retries)[2] if self._retries and self._retries[0][0] <= now else None

    def _fresh(self) -> _Open | None:
        if self._exhausted or len(self._retries) >= MOST_WAITING:
            return None
        try:
            request = next(self._missing)
        except StopIteration:
            self._exhausted = True
            return None
        if request is None:
            self._listener.update(self._tally)
            self._loop.call_soon(self._pump)
            return None
        self.open_keys.add(request.key)
        return _Open(request)

    def _start(self, item: _Open, now: float) -> None:
        item.sends += 1
        item.started = now
        task = self._loop.create_task(self._ask(item))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self._tally.in_flight = len(self._tasks)
        item.expected_tokens = self._pace.started(now, len(self._tasks))

    def _call_at(self, when: float) -> None:
        if self._timer and not self._timer.cancelled() and self._loop.time() < self._timer.when() <= when:
            return
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._pump)

    async def _ask(self, item: _Open) -> None:
        try:
            answer = await self._drive.engine.ask(item.request)
        except AskError as error:
            self._failed(item, error)
        except BaseException as error:
            given_up = isinstance(error, asyncio.CancelledError)
            self._purse.settle_failure(item.request, item.reserved, charged=given_up)
            raise
        else:
            self._answered(item, answer)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._tally.in_flight = len(self._tasks)
        if not task.cancelled() and (error := task.exception()):
            self._stop(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        if self._metered and (window := self._metered.window()):
            self._pace.told(window, len(self._tasks), self._loop.time())
        self._pump()

    def _answered(self, item: _Open, answer: Answer) -> None:
        now = self._loop.time()
        charge = self._purse.settle_answer(item.request, item.reserved, answer)
        self._conclude(item, answer if item.sends == 1 else replace(answer, attempts=item.sends))
        self._vigil.answered(item.started, now)
        tokens = (answer.prompt_tokens or 0) + (answer.completion_tokens or 0)
        self._pace.used(item.expected_tokens, tokens, now)
        self._tally.answered += 1
        self._tally.add(tokens, charge.cost)
        self._listener.update(self._tally)

    def _failed(self, item: _Open, error: AskError) -> None:
        now = self._loop.time()
        charge = self._purse.settle_failure(item.request, item.reserved, charged=error.charged)
        self._tally.add(0, charge.cost)
        self._pace.used(item.expected_tokens, 0, now)
        last = self._exhausted and self._next is None
        if self._vigil.blames(error, sends=item.sends, started=item.started, now=now, last=last):
            item.strikes += 1
        if self._worth_another_try(item, error):
            heapq.heappush(self._retries, (now + _pause_s(error, item.strikes), next(self._ticket), item))
            return
        self._conclude(item, _failure(item.request, error, item.sends))
        self._tally.count_failure(error.kind, optional=item.request.optional)
        self._listener.update(self._tally)
        self._failed_now += 1
        self._check_hope(error)

    def _worth_another_try(self, item: _Open, error: AskError) -> bool:
        most = self._settings.max_attempts
        return (
            error.retryable
            and item.strikes < most
            and item.sends < most * MOST_SENDS_PER_ATTEMPT
            and (error.retry_after_s or 0.0) <= self._settings.outage_patience_s
        )

    def _conclude(self, item: _Open, outcome: Outcome) -> None:
        self._drive.ledger.record(outcome)
        self.open_keys.discard(item.request.key)

    def _check_hope(self, error: AskError) -> None:
        tally = self._tally
        if self._failed_now < HOPELESS_FAILURES or tally.answered or tally.from_ledger:
            return
        if self._settings.max_failed_share < 1.0:
            raise TooManyFailuresError(
                f"{tally.lang} {tally.stage}: the first {self._failed_now} requests failed and none was answered"
                f" ({tally.failure_counts()}; for example: {error}): mend the cause, forget these failures with"
                " `persona-assets retry-failed`, and run again"
            )

    def _check_window(self, now: float) -> None:
        wait_s = self._pace.window_wait_s(now)
        if wait_s > self._settings.outage_patience_s:
            raise EndpointError(
                f"the endpoint's rate limit is used up for {wait_s:.0f} s: all answers are kept; run the same command"
                " again later, or raise llm.outage_patience_s"
            )

    def _outage_over(self, error: Exception | None) -> None:
        if error:
            self._stop(error)
        self._pump()

    def _stop(self, error: Exception) -> None:
        """Send nothing more; what is on its way may still arrive, unless it could not be kept."""
        if self._error is not None:
            return
        self._error = error
        if not isinstance(error, BudgetReachedError | EndpointError | TooManyFailuresError):
            self._finish()
        else:
            self._loop.call_later(DRAIN_S, self._finish)

    def _finish(self) -> None:
        if self._done.done():
            return
        if self._error:
            self._done.set_exception(self._error)
        else:
            self._done.set_result(None)


def _pause_s(error: AskError, strikes: int) -> float:
    backoff = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * BACKOFF_GROWTH ** max(0, strikes - 1))
    # Jitter keeps requests that failed together from returning together.
    spread = backoff * random.uniform(0.5, 1.0)  # noqa: S311
    return spread if error.retry_after_s is None else error.retry_after_s + spread * 0.1


def _failure(request: Request, error: AskError, attempts: int) -> Failure:
    return Failure(
        key=request.key,
        kind=error.kind,
        message=str(error),
        attempts=attempts,
        permanent=not error.retryable,
        failed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )

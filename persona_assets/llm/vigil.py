"""Tells the faults of an endpoint from those of a request, and sits out the times when it is down."""

import asyncio
from collections.abc import Callable

from persona_assets.errors import EndpointError
from persona_assets.llm.concurrency import Governor
from persona_assets.llm.engines.base import AskError, Engine, Reachable
from persona_assets.settings import LlmSettings

REFUSALS = frozenset({"rate_limit", "http_502", "http_503", "http_504", "http_529"})

# An endpoint that was never reached is most likely misspelt or down: say so soon.
UNREACHED_ATTEMPTS = 3
# So many broken connections with no response in between: look whether the endpoint is there at all.
LOST_STREAK = 4
FIRST_PROBE_S, LONGEST_PROBE_S = 0.5, 2.0


class Vigil:
    """Watches how attempts end, and keeps the governor informed.

    Args:
        engine: is probed in an outage, if it can be.
        settings: for `outage_patience_s`.
        governor: is told of every ended attempt.
        over: called when an outage is over, with the reason to stop if it took too long.
    """

    def __init__(
        self,
        engine: Engine,
        settings: LlmSettings,
        governor: Governor,
        over: Callable[[Exception | None], None],
    ) -> None:
        self._engine = engine if isinstance(engine, Reachable) else None
        self._patience_s = settings.outage_patience_s
        self._governor = governor
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._reached = False
        self._lost = 0
        self._probing: asyncio.Task[None] | None = None
        self._down = False
        self._served_at = self._loop.time()

    @property
    def outage(self) -> bool:
        """Whether nothing should be sent, because the endpoint may not be there."""
        return self._probing is not None

    def answered(self, started: float, now: float) -> None:
        """Note an answer to a request of time `started`."""
        self._responded(now, served=True)
        self._governor.answered(started, now)

    def blames(self, error: AskError, *, sends: int, started: float, now: float, last: bool) -> bool:
        """Note a failed attempt; returns whether it counts against the request.

        `sends` is how often this request was sent, `last` whether no request is waiting to be sent
        for the first time.

        Raises:
            EndpointError: it was never reached, or has refused everything for too long.
        """
        if error.kind == "connection":
            return self._connection_lost(error, sends)
        if error.kind in REFUSALS:
            self._responded(now, served=False)
            self._governor.refused(started, now, error.retry_after_s)
            return self._refused(error, now, last=last)
        if error.kind == "timeout":
            self._responded(now, served=False)
            self._governor.timed_out(started, now)
        else:
            self._responded(now, served=True)
            self._governor.failed(now)
        return True

    def close(self) -> None:
        """Stop probing."""
        if self._probing:
            self._probing.cancel()

    def _responded(self, now: float, *, served: bool) -> None:
        self._reached = True
        self._lost = 0
        if served:
            self._served_at = now

    def _refused(self, error: AskError, now: float, *, last: bool) -> bool:
        if not self._governor.overloaded(now):
            return True
        silent_s, asked_s = now - self._served_at, error.retry_after_s or 0.0
        if max(silent_s, asked_s) <= self._patience_s:
            return False
        if last:
            # Perhaps it serves others, but only these are left: let them end as failures.
            return True
        what = f"asks to wait {asked_s:.0f} s" if asked_s > silent_s else f"has refused everything for {silent_s:.0f} s"
        raise EndpointError(
            f"the endpoint {what} ({error}): all answers are kept; run the same command again later, or raise"
            " llm.outage_patience_s"
        )

    def _connection_lost(self, error: AskError, sends: int) -> bool:
        self._lost += 1
        self._reached = self._reached or error.responded
        if not self._reached:
            if sends >= UNREACHED_ATTEMPTS:
                raise EndpointError(
                    f"the endpoint cannot be reached ({error}): check that it runs, OPENAI_BASE_URL and llm.base_url"
                )
            return True
        if self._engine and not self._probing and (error.unreachable or self._lost >= LOST_STREAK):
            self._probing = self._loop.create_task(self._sit_out(self._engine, error))
            self._probing.add_done_callback(self._ended)
        return not (error.unreachable or self._down)

    async def _sit_out(self, engine: Reachable, error: AskError) -> None:
        since, delay_s = self._loop.time(), FIRST_PROBE_S
        while not await engine.reachable():
            self._down = True
            if self._loop.time() - since > self._patience_s:
                raise EndpointError(
                    f"the endpoint has been down for {self._patience_s:g} s ({error}): all answers are kept; run the"
                    " same command again when it is back, or raise llm.outage_patience_s"
                )
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, LONGEST_PROBE_S)
        if self._down:
            self._governor.restart(self._loop.time())

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._probing, self._down, self._lost = None, False, 0
        self._served_at = self._loop.time()
        if task.cancelled():
            return
        error = task.exception()
        self._over(error if isinstance(error, Exception) else None)

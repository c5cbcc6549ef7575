"""Drives a language model over a stream of requests: bounded, retried, and durable answer by answer."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from persona_assets.errors import EndpointError, ReplayMissError, TooManyFailuresError
from persona_assets.llm.engines.base import AskError, Engine
from persona_assets.llm.exchange import write_pending
from persona_assets.llm.ledger import Ledger, chunks
from persona_assets.llm.progress import Reporter, Tally, current_reporter
from persona_assets.llm.requests import Answer, Failure, Outcome, Request
from persona_assets.settings import LlmSettings

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
# An endpoint that was never reached is most likely misspelt or down: say so soon.
UNREACHED_ATTEMPTS = 3


@dataclass(frozen=True)
class Drive:
    """What a stage needs to ask: the ledger it writes, the engine, and the settings of the profile."""

    ledger: Ledger
    engine: Engine
    settings: LlmSettings
    stage: str
    lang: str


def answer_all(requests: list[Request], drive: Drive) -> Tally:
    """See to it that every request has an outcome in the ledger, asking only for what is missing.

    Each answer is committed to the ledger before anything else happens to it. A request that fails
    for good is recorded with its reason; it never stops the others.

    Raises:
        EndpointError: no request can succeed until the user changes something.
        ReplayMissError: the engine may not ask, and answers are missing; the questions are written
            to a pending file.
        TooManyFailuresError: a larger share of the requests failed than the settings allow.
    """
    tally = Tally(drive.stage, drive.lang, total=len(requests))
    listener = current_reporter()
    if drive.engine.asks:
        asyncio.run(_ask_missing(requests, drive, tally, listener))
    else:
        _refuse_missing(requests, drive, tally)
    listener.finish(tally)
    failed = sum(tally.failed.values())
    if failed > drive.settings.max_failed_share * len(requests):
        kinds = ", ".join(f"{kind} {count}" for kind, count in tally.failed.most_common())
        last = next(iter(drive.ledger.failures(requests).values()))
        raise TooManyFailuresError(
            f"{drive.lang} {drive.stage}: {failed} of {len(requests)} requests failed ({kinds}; for example:"
            f" {last.message}); the old partition and all answers are kept:"
            " mend the cause and run again, or raise llm.max_failed_share"
        )
    return tally


def outcomes(requests: Iterable[Request], ledger: Ledger) -> Iterator[tuple[Request, Outcome]]:
    """Pair every request with its outcome, in the order of the requests, whatever the order of arrival."""
    for chunk in chunks(requests):
        found = ledger.lookup(chunk)
        failures = ledger.failures(chunk)
        for request in chunk:
            yield request, found.get(request.key) or failures[request.key]


def _refuse_missing(requests: list[Request], drive: Drive, tally: Tally) -> None:
    missing = list(_missing(requests, drive.ledger, tally))
    if not missing:
        return
    pending = write_pending(drive.ledger.path.parents[1], drive.stage, drive.lang, missing)
    raise ReplayMissError(
        f"{drive.lang} {drive.stage}: the ledger holds no answer for {len(missing)} of {len(requests)} requests,"
        ' and the replay engine asks nobody: use a profile with llm.engine = "openai" (such as quickstart), or answer'
        f" {pending} and import the answers"
    )


def _missing(requests: Iterable[Request], ledger: Ledger, tally: Tally) -> Iterator[Request]:
    for chunk in chunks(requests):
        found = ledger.lookup(chunk)
        for request in chunk:
            outcome = found.get(request.key)
            if outcome is None:
                yield request
            elif isinstance(outcome, Answer):
                tally.from_ledger += 1
            else:
                tally.failed[outcome.kind] += 1


async def _ask_missing(requests: list[Request], drive: Drive, tally: Tally, listener: Reporter) -> None:
    waiting = _missing(requests, drive.ledger, tally)

    async def work() -> None:
        for request in waiting:
            tally.in_flight += 1
            outcome = await _ask_until_done(request, drive, reached=lambda: tally.answered > 0)
            drive.ledger.record(outcome)
            tally.in_flight -= 1
            if isinstance(outcome, Answer):
                tally.answered += 1
                tally.tokens += (outcome.prompt_tokens or 0) + (outcome.completion_tokens or 0)
            else:
                tally.failed[outcome.kind] += 1
            listener.update(tally)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(drive.settings.concurrency, len(requests))):
                group.create_task(work())
    except BaseExceptionGroup as failed:
        # Every worker may have met the same fault; one line is enough.
        raise failed.exceptions[0] from None
    finally:
        await drive.engine.close()


async def _ask_until_done(request: Request, drive: Drive, *, reached: Callable[[], bool]) -> Outcome:
    attempt = 0
    while True:
        attempt += 1
        try:
            answer = await drive.engine.ask(request)
        except AskError as error:
            if error.kind == "connection" and attempt >= UNREACHED_ATTEMPTS and not reached():
                raise EndpointError(
                    f"the endpoint cannot be reached ({error}): check that it runs, OPENAI_BASE_URL and llm.base_url"
                ) from None
            if not error.retryable or attempt >= drive.settings.max_attempts:
                return _failure(request, error, attempt)
            await asyncio.sleep(_pause(error, attempt))
        else:
            return replace(answer, attempts=attempt)


def _pause(error: AskError, attempt: int) -> float:
    backoff = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (attempt - 1))
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

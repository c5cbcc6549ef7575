"""Drives a language model over a stream of requests: bounded, retried, and durable answer by answer.

`answer_all` sees to it that every request has an outcome in the ledger; `outcomes` reads them back in
the order of the requests. Between the two, whatever the order of arrival was is forgotten.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sized

from persona_assets.errors import LedgerError, ReplayMissError, TooManyFailuresError
from persona_assets.llm.dispatch import Dispatcher, Drive
from persona_assets.llm.exchange import write_pending
from persona_assets.llm.ledger import Ledger, chunks
from persona_assets.llm.progress import Reporter, Tally, current_reporter
from persona_assets.llm.requests import Failure, Outcome, Request

__all__ = ["Drive", "answer_all", "outcomes"]

# While answers arrive, the ledger is asked in small bites: a look-up holds up everything else.
ASKING_CHUNK = 256
REPLAY_CHUNK = 5_000


def answer_all(requests: Iterable[Request], drive: Drive) -> Tally:
    """See to it that every request has an outcome in the ledger, asking only for what is missing.

    Requests are pulled as they can be sent, so memory does not grow with their number; give an object
    that can be iterated again (for `outcomes`), not an iterator. Each answer is committed to the
    ledger before anything else happens to it. A request that fails for good is recorded with its
    reason; it never stops the others.

    Raises:
        BudgetReachedError: the next request might cost more than the budget has left.
        EndpointError: no request can succeed until the user changes something.
        ReplayMissError: the engine may not ask, and answers are missing; the questions are written
            to a pending file.
        TooManyFailuresError: a larger share of the requests failed than the settings allow.
    """
    total = len(requests) if isinstance(requests, Sized) else None
    priced = drive.purse is not None and drive.purse.prices is not None
    tally = Tally(drive.stage, drive.lang, total=total, cost=0.0 if priced else None)
    listener = current_reporter()
    if drive.engine.asks:
        asyncio.run(_ask_missing(requests, drive, tally, listener))
    else:
        _refuse_missing(requests, drive, tally)
    tally.total = tally.done
    listener.finish(tally)
    failed = sum(tally.failed.values()) - tally.excused
    if failed > drive.settings.max_failed_share * tally.total:
        raise TooManyFailuresError(
            f"{drive.lang} {drive.stage}: {failed} of {tally.total} requests failed ({tally.failure_counts()}; for"
            f" example: {_an_example(requests, drive.ledger)}); the old partition and all answers are kept:"
            " mend the cause and run again, or raise llm.max_failed_share"
        )
    return tally


def outcomes(requests: Iterable[Request], ledger: Ledger) -> Iterator[tuple[Request, Outcome]]:
    """Pair every request with its outcome, in the order of the requests, whatever the order of arrival.

    Raises:
        LedgerError: a request has no outcome, because somebody has changed the ledger meanwhile.
    """
    for chunk in chunks(requests):
        found = ledger.lookup(chunk)
        failures: dict[str, Failure] = ledger.failures(chunk) if len(found) < len(chunk) else {}
        for request in chunk:
            outcome = found.get(request.key) or failures.get(request.key)
            if outcome is None:
                raise LedgerError(
                    f"the ledger {ledger.path} has lost the outcome of {request.key} during this run:"
                    " run the same command again, and nothing else on this home"
                )
            yield request, outcome


def _an_example(requests: Iterable[Request], ledger: Ledger) -> str:
    for chunk in chunks(requests):
        for failure in ledger.failures(chunk).values():
            return failure.message
    return "see the ledger"


def _refuse_missing(requests: Iterable[Request], drive: Drive, tally: Tally) -> None:
    missing = [
        request for request in _missing(requests, drive.ledger, tally, REPLAY_CHUNK, set()) if request is not None
    ]
    if not missing:
        return
    pending = write_pending(drive.ledger.path.parents[1], drive.stage, drive.lang, missing)
    raise ReplayMissError(
        f"{drive.lang} {drive.stage}: the ledger holds no answer for {len(missing)} of {tally.done + len(missing)}"
        ' requests, and the replay engine asks nobody: use a profile with llm.engine = "openai" (such as quickstart),'
        f" or answer {pending} and import the answers"
    )


def _missing(
    requests: Iterable[Request], ledger: Ledger, tally: Tally, size: int, open_keys: set[str]
) -> Iterator[Request | None]:
    """The requests that neither have an outcome that stands nor are open; None after `size` looked up."""
    for chunk in chunks(requests, size):
        settled = ledger.settled(chunk)
        # The same question twice: the answer on its way serves both.
        pulled = {request.key for request in chunk} & open_keys
        for request in chunk:
            kind = settled.get(request.key, "open" if request.key in pulled else "missing")
            if kind == "missing":
                pulled.add(request.key)
                yield request
            elif kind is None or kind == "open":
                tally.from_ledger += 1
            else:
                tally.count_failure(kind, optional=request.optional)
        yield None


async def _ask_missing(requests: Iterable[Request], drive: Drive, tally: Tally, listener: Reporter) -> None:
    try:
        dispatcher = Dispatcher(drive, tally, listener)
        await dispatcher.run(_missing(requests, drive.ledger, tally, ASKING_CHUNK, dispatcher.open_keys))
    finally:
        await drive.engine.close()

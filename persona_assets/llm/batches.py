"""Answers from a provider's batch API: within a day, for less money, into the same ledger.

`answer_by_batches` leaves the ledger as `persona_assets.llm.driver.answer_all` does. It may be stopped at any time:
batches go on at the provider, and the next run collects them before it submits anything.
"""

import asyncio
from collections.abc import Iterable, Sized

from persona_assets.errors import EndpointError, TooManyFailuresError
from persona_assets.llm.batch_book import BatchBook, open_book
from persona_assets.llm.batch_client import BatchClient
from persona_assets.llm.batch_collection import Collection, failure_of
from persona_assets.llm.batch_submission import BatchDrive, Submission
from persona_assets.llm.endpoint import endpoint_of
from persona_assets.llm.engines.base import AskError
from persona_assets.llm.ledger import chunks
from persona_assets.llm.progress import Tally, current_reporter
from persona_assets.llm.requests import Answer, Failure, Request

_WITHOUT_RESULT = AskError("no_result", "the batch ended without a result for this request", retryable=True)


def answer_by_batches(requests: Iterable[Request], drive: BatchDrive) -> Tally:
    """See to it that every request has an outcome in the ledger, submitting in batches what is missing.

    Args:
        requests: can be iterated again; never held as a whole.
        drive: the ledger, held by the caller, and the settings; its engine is not used.

    Raises:
        BudgetReachedError: further requests might cost more than the budget has left; what was submitted before
            is collected first.
        EndpointError: no batch API, a refused key, an endpoint that stays away, a batch that was cancelled or
            refused as a whole; what came back is kept, and batches under way are collected by the next run.
        TooManyFailuresError: a larger share of the requests failed than the settings allow.
    """
    total = len(requests) if isinstance(requests, Sized) else None
    priced = drive.purse is not None and drive.purse.prices is not None
    tally = Tally(drive.stage, drive.lang, total=total, cost=0.0 if priced else None)
    with open_book(drive.ledger.path) as book:
        asyncio.run(_answer(requests, drive, book, tally))
    tally.total, tally.in_flight = tally.done, 0
    current_reporter().finish(tally)
    failed = sum(tally.failed.values()) - tally.excused
    if failed > drive.settings.max_failed_share * tally.total:
        raise TooManyFailuresError(
            f"{drive.lang} {drive.stage}: {failed} of {tally.total} requests failed ({tally.failure_counts()}); the old"
            " partition and all answers are kept: mend the cause and run again, or raise llm.max_failed_share"
        )
    return tally


async def _answer(requests: Iterable[Request], drive: BatchDrive, book: BatchBook, tally: Tally) -> None:
    client = BatchClient(drive.settings, endpoint_of(drive.settings))
    try:
        submission = Submission(requests, drive, book, client)
        collection = Collection(drive, book, client, tally, submission.reserved)
        await _adopt(drive, book, client)
        tally.from_ledger = _answered(requests, drive)
        rounds = await _rounds(submission, collection, drive, book, tally)
        _settle(requests, drive, tally, collection, asked=submission.obstacle is None, rounds=rounds)
        if submission.obstacle:
            raise submission.obstacle.error()
    finally:
        await client.close()


async def _adopt(drive: BatchDrive, book: BatchBook, client: BatchClient) -> None:
    """Find out about batches that an earlier run has left open."""
    host = client.endpoint.host
    for note in book.open():
        if note.host != host:
            raise EndpointError(
                f"a batch of {drive.lang} {drive.stage} is under way at {note.host}, and the base URL is now that of"
                f" {host}: set llm.base_url back until it is collected"
            )
        if note.batch_id is None:
            batch = await client.find(note.name, since=note.prepared_at)
            if batch is None:
                book.close(note, "never created")
            else:
                book.created(note, batch.id)


async def _rounds(
    submission: Submission, collection: Collection, drive: BatchDrive, book: BatchBook, tally: Tally
) -> int:
    """Submit and collect until nothing is missing, or has been through enough batches; returns how many rounds."""
    rounds = 0
    while rounds < drive.settings.batch.max_rounds:
        if not await submission.submit() and not book.open():
            break
        before = tally.answered
        await collection.collect()
        progressed = tally.answered > before
        if collection.queue_full and not progressed:
            collection.stopped = (
                f"{drive.settings.model} has no room for a batch of this size in the account's queue: lower"
                " llm.batch.max_requests, or wait for other batches of the account to end"
            )
        if collection.stopped:
            raise EndpointError(collection.stopped)
        # Where the queue or the budget was full, what has come back made room; that is nobody's failure.
        rounds += not (progressed and (collection.queue_full or submission.obstacle))
    return rounds


def _answered(requests: Iterable[Request], drive: BatchDrive) -> int:
    return sum(
        isinstance(outcome, Answer) for chunk in chunks(requests) for outcome in drive.ledger.lookup(chunk).values()
    )


def _settle(
    requests: Iterable[Request], drive: BatchDrive, tally: Tally, collection: Collection, *, asked: bool, rounds: int
) -> None:
    """Count how all requests ended, and record as failures those that came back without an answer every time."""
    answered = 0
    for chunk in chunks(requests):
        held = drive.ledger.lookup(chunk)
        for request in {request.key: request for request in chunk}.values():
            outcome = held.get(request.key)
            if outcome is None and asked:
                error = collection.refused.get(request.key, _WITHOUT_RESULT)
                outcome = failure_of(request.key, error, attempts=rounds)
                drive.ledger.record(outcome)
            if isinstance(outcome, Failure):
                tally.count_failure(outcome.kind, optional=request.optional)
            answered += isinstance(outcome, Answer)
    # Until now it counted what came back, some of it perhaps for the second time after an interruption.
    tally.answered = answered - tally.from_ledger

"""Waiting for batches, and bringing what comes back into the ledger."""

import asyncio
import logging
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from persona_assets.errors import EndpointError
from persona_assets.llm.batch_book import BatchBook, BatchNote
from persona_assets.llm.batch_client import BatchClient
from persona_assets.llm.batch_results import Result, read_results
from persona_assets.llm.batch_submission import BatchDrive
from persona_assets.llm.engines.base import AskError
from persona_assets.llm.progress import Tally, current_reporter
from persona_assets.llm.requests import Answer, Failure, Request, ResponseFormat
from persona_assets.llm.spending import NOTHING, Charge, Purse

if TYPE_CHECKING:
    from openai.types import Batch

log = logging.getLogger("persona_assets")

ENDED = ("completed", "expired", "cancelled", "failed")
DOWNLOAD_TRIES = 3
POLL_GROWTH = 1.5


class Collection:
    """Collects the open batches of a book.

    `refused` has the last error of requests that may be asked again, by key; `stopped` says why no more
    batches should be submitted; `queue_full` whether the provider had no room for one.
    """

    def __init__(
        self, drive: BatchDrive, book: BatchBook, client: BatchClient, tally: Tally, reserved: dict[str, Charge]
    ) -> None:
        self._drive = drive
        self._settings = drive.settings.batch
        self._purse = drive.purse or Purse()
        self._book = book
        self._client = client
        self._tally = tally
        self._reserved = reserved
        self._listener = current_reporter()
        self.refused: dict[str, AskError] = {}
        self.stopped: str | None = None
        self.queue_full = False

    async def collect(self) -> None:
        """Wait until all open batches have ended, and merge each as soon as it has."""
        self.queue_full = False
        pause = self._settings.poll_s
        while notes := self._book.open():
            under_way, ended = 0, 0
            for note in notes:
                waiting = await self._look(note)
                under_way += waiting or 0
                ended += waiting is None
            self._tally.in_flight = under_way
            self._listener.update(self._tally)
            if ended < len(notes):
                await asyncio.sleep(pause)
                pause = self._settings.poll_s if ended else min(self._settings.longest_poll_s, POLL_GROWTH * pause)

    async def _look(self, note: BatchNote) -> int | None:
        """How many requests of a batch are under way; None once it has ended and is merged."""
        batch = await self._client.retrieve(note.batch_id or "")
        if batch is None:
            log.warning(f"{self._client.endpoint.host} no longer knows batch {note.batch_id}: it is submitted again")
            self._book.close(note, "lost")
        elif batch.status in ENDED:
            await self._merge(note, batch)
        else:
            counts = batch.request_counts
            return counts.total - counts.completed - counts.failed if counts else 0
        return None

    async def _merge(self, note: BatchNote, batch: "Batch") -> None:
        rooms = self._book.rooms(note)
        seen: set[str] = set()
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id:
                await self._merge_file(file_id, rooms, note, seen)
        for key in rooms.keys() - seen:
            self._settle(key, None)
        self._explain(batch)
        # Last, so that a batch whose merging is interrupted is merged again.
        self._book.close(note, batch.status)
        log.info(
            f"{self._drive.lang} {self._drive.stage}: batch {batch.id} is {batch.status},"
            f" with results for {len(seen)} of {len(rooms)} requests"
        )
        await self._client.discard(batch.input_file_id)

    async def _merge_file(self, file_id: str, rooms: Mapping[str, int], note: BatchNote, seen: set[str]) -> None:
        beside, prefix = self._drive.ledger.path.parent, f".{self._drive.stage}.batch-"
        with tempfile.TemporaryDirectory(dir=beside, prefix=prefix) as folder:
            path = Path(folder) / "results.jsonl"
            for attempt in range(1, DOWNLOAD_TRIES + 1):
                if not await self._client.download(file_id, path):
                    log.warning(f"{note.host} has deleted {file_id} with results of batch {note.batch_id}")
                    return
                try:
                    for result in read_results(path, rooms, model=note.model, host=note.host):
                        if result.key not in seen:
                            self._record(result, rooms[result.key])
                            seen.add(result.key)
                except ValueError as error:
                    if attempt == DOWNLOAD_TRIES:
                        raise EndpointError(
                            f"{note.host} sends damaged results ({file_id} of batch {note.batch_id}: {error}):"
                            " what could be read is kept, run again to fetch the rest"
                        ) from error
                else:
                    return

    def _record(self, result: Result, room: int) -> None:
        outcome = result.outcome
        if isinstance(outcome, Answer):
            self._drive.ledger.record(outcome)
            self._tally.answered += 1
            self.refused.pop(result.key, None)
            self._settle(result.key, outcome, room)
            return
        self._settle(result.key, None)
        if outcome.retryable:
            self.refused[result.key] = outcome
        else:
            self._drive.ledger.record(failure_of(result.key, outcome))

    def _settle(self, key: str, answer: Answer | None, room: int = 0) -> None:
        reserved = self._reserved.pop(key, NOTHING)
        drive = self._drive
        asked = Request(drive.stage, drive.lang, "", drive.settings.model, (), ResponseFormat("none"), max_tokens=room)
        if answer is not None:
            charge = self._purse.settle_answer(asked, reserved, answer)
            self._tally.add(charge.tokens, charge.cost)
        elif reserved is not NOTHING:
            self._purse.settle_failure(asked, reserved, charged=False)

    def _explain(self, batch: "Batch") -> None:
        host = self._client.endpoint.host
        if batch.status == "cancelled":
            self.stopped = (
                f"batch {batch.id} was cancelled at {host}: what it had answered is kept;"
                " run again to submit the rest anew"
            )
        if batch.status != "failed":
            return
        faults = (batch.errors.data if batch.errors else None) or []
        if any(fault.code == "token_limit_exceeded" for fault in faults):
            self.queue_full = True
            return
        said = "; ".join(
            f"{fault.message} (line {fault.line})" if fault.line else str(fault.message) for fault in faults
        )
        said = " ".join(self._client.endpoint.redact(said or "no reason given").split())
        self.stopped = f"{host} refused batch {batch.id} as a whole: {said}"


def failure_of(key: str, error: AskError, attempts: int = 1) -> Failure:
    """The failure to record for a request that ended in `error`, after so many batches."""
    return Failure(
        key=key,
        kind=error.kind,
        message=str(error),
        attempts=attempts,
        permanent=not error.retryable,
        failed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )

"""Submitting what the ledger lacks, in as few batches as the provider's limits allow."""

import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from persona_assets.errors import EndpointError
from persona_assets.llm.batch_book import BatchBook
from persona_assets.llm.batch_client import BatchClient
from persona_assets.llm.engines.chat import body_of
from persona_assets.llm.ledger import Ledger, chunks
from persona_assets.llm.requests import Request
from persona_assets.llm.spending import NOTHING, Charge, Obstacle, Purse
from persona_assets.settings import LlmSettings

log = logging.getLogger("persona_assets")


class BatchDrive(Protocol):
    """What asking by batches needs; a `persona_assets.llm.dispatch.Drive` has it."""

    @property
    def ledger(self) -> Ledger:
        """Held by the caller."""
        ...

    @property
    def settings(self) -> LlmSettings:
        """Endpoint and limits."""
        ...

    @property
    def stage(self) -> str:
        """The question asked."""
        ...

    @property
    def lang(self) -> str:
        """ISO 639-1 code."""
        ...

    @property
    def purse(self) -> Purse | None:
        """Its prices are those of batches: see `persona_assets.llm.prices.discounted`."""
        ...


class Submission:
    """Submits; `reserved` is what was set aside for requests under way, by key, `obstacle` what stopped it."""

    def __init__(self, requests: Iterable[Request], drive: BatchDrive, book: BatchBook, client: BatchClient) -> None:
        self._requests = requests
        self._drive = drive
        self._limits = drive.settings.batch
        self._purse = drive.purse or Purse()
        self._book = book
        self._client = client
        self.reserved: dict[str, Charge] = {}
        self.obstacle: Obstacle | None = None

    async def submit(self) -> int:
        """Submit what is missing, as far as the budget goes; returns how many requests."""
        self.obstacle = None
        beside, prefix = self._drive.ledger.path.parent, f".{self._drive.stage}.batch-"
        for left in beside.glob(prefix + "*"):
            # Of a run that was killed; the ledger's lock says that it runs no more.
            shutil.rmtree(left, ignore_errors=True)
        submitted = 0
        with tempfile.TemporaryDirectory(dir=beside, prefix=prefix) as folder:
            path = Path(folder) / "requests.jsonl"
            missing = _Ahead(self._affordable())
            while missing.more:
                rooms = self._write(path, missing)
                submitted += await self._send(path, rooms)
        return submitted

    def _affordable(self) -> Iterator[Request]:
        for request in self._missing():
            reserved = self._purse.reserve(request)
            if isinstance(reserved, Obstacle):
                self.obstacle = reserved
                return
            if reserved is not NOTHING:
                self.reserved[request.key] = reserved
            yield request

    def _missing(self) -> Iterator[Request]:
        for chunk in chunks(self._requests):
            held = self._drive.ledger.lookup(chunk)
            under_way = self._book.under_way([request.key for request in chunk])
            # A batch takes each key once.
            yield from {
                request.key: request for request in chunk if request.key not in held and request.key not in under_way
            }.values()

    def _write(self, path: Path, missing: "_Ahead") -> dict[str, int]:
        """Write one input file; returns `max_tokens` by key."""
        rooms: dict[str, int] = {}
        most = int(self._limits.max_megabytes * 1e6)
        with path.open("wb") as out:
            while missing.next is not None and len(rooms) < self._limits.max_requests:
                line = _line(missing.next)
                if rooms and out.tell() + len(line) > most:
                    break
                if missing.next.key not in rooms:
                    out.write(line)
                    rooms[missing.next.key] = missing.next.max_tokens
                missing.advance()
        return rooms

    async def _send(self, path: Path, rooms: dict[str, int]) -> int:
        drive = self._drive
        note = self._book.prepare(self._client.endpoint.host, drive.settings.model, rooms.items())
        try:
            file_id = await self._client.upload(path)
        except EndpointError:
            self._book.close(note, "never created")
            raise
        batch = await self._client.create(note.name, file_id, stage=drive.stage, lang=drive.lang)
        self._book.created(note, batch.id)
        log.info(
            f"{drive.lang} {drive.stage}: batch {batch.id} with {len(rooms)} requests is submitted; it may take a day,"
            " and goes on when this program is stopped: run again to collect it"
        )
        return len(rooms)


class _Ahead:
    """An iterator that shows what comes next."""

    def __init__(self, items: Iterator[Request]) -> None:
        self._items = items
        self.next: Request | None = next(items, None)

    @property
    def more(self) -> bool:
        return self.next is not None

    def advance(self) -> None:
        self.next = next(self._items, None)


def _line(request: Request) -> bytes:
    head = f'{{"custom_id": "{request.key}", "method": "POST", "url": "/v1/chat/completions", "body": '
    return head.encode() + body_of(request) + b"}\n"

"""A local server of the OpenAI files and batches API, with faults that can be switched on.

It runs in a thread of the test, which reads and sets its state directly; a client under test that is killed runs
in a process of its own (`python -m persona_assets_tests.batch_endpoint BASE_URL LEDGER COUNT`).
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from aiohttp import web

from persona_assets.llm.batches import answer_by_batches
from persona_assets.llm.driver import Drive
from persona_assets.llm.engines.replay import ReplayEngine
from persona_assets.llm.ledger import open_ledger
from persona_assets.llm.requests import Message, Request, ResponseFormat
from persona_assets.settings import LlmSettings
from persona_assets_tests.endpoint_texts import reply_to

KEY = "test-key-0123456789"
STAGE, LANG = "text_to_persona", "en"


@dataclass
class Batch:
    """One batch: `looks` counts how often its state was asked for."""

    id: str
    file: str
    metadata: dict[str, str]
    keys: list[str]
    created_at: int
    looks: int = 0
    state: str = "validating"
    output: str | None = None
    errors: str | None = None
    faults: list[dict[str, Any]] = field(default_factory=list)
    counts: tuple[int, int] = (0, 0)

    def shown(self) -> dict[str, Any]:
        """The object of the API."""
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": self.created_at,
            "input_file_id": self.file,
            "status": self.state,
            "output_file_id": self.output,
            "error_file_id": self.errors,
            "errors": {"object": "list", "data": self.faults} if self.faults else None,
            "request_counts": {"total": len(self.keys), "completed": self.counts[0], "failed": self.counts[1]},
            "metadata": self.metadata,
        }


@dataclass
class Plan:
    """How the server behaves; a request is named by its position in its batch."""

    looks: int = 2  # how often a batch is looked at before it ends
    hold: bool = False  # batches do not end
    end: Callable[[int], str] = lambda batch: "completed"  # by the number of the batch, from 0
    # What becomes of a request: "answer", "expire", "lose" (no line at all), "torn" (a line cut in half), or a status.
    fate: Callable[[int, int], str] = lambda batch, position: "answer"
    drop_uploads: int = 0  # so many requests of each kind get no response
    lose_created: int = 0  # as above, but the batch is created
    stall_at: int | None = None  # the batch of this number is created, and the response never comes
    fail_looks: int = 0  # so many looks at batches get a 503
    damage_downloads: int = 0
    without_batches: bool = False
    fault: str = "invalid_request"  # code of a batch that ends as "failed"


class BatchEndpoint:
    """The running server; `paid` counts, by key, how often a request was taken into a batch."""

    def __init__(self, **plan: Any) -> None:
        self.plan = Plan(**plan)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Batch] = {}
        self.calls: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.base_url = ""
        self._stop: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        started: Future[tuple[int, Callable[[], object]]] = Future()

        async def run() -> None:
            loop, stop = asyncio.get_running_loop(), asyncio.Event()
            runner = web.AppRunner(self._app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            started.set_result((runner.addresses[0][1], lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()
            await runner.cleanup()

        self._thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        self._thread.start()
        port, self._stop = started.result(timeout=30)
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join(timeout=10)

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=300 * 2**20, middlewares=[self._authorized])
        app.router.add_post("/v1/files", self._upload)
        app.router.add_delete("/v1/files/{id}", self._delete)
        app.router.add_get("/v1/files/{id}/content", self._content)
        if not self.plan.without_batches:
            app.router.add_post("/v1/batches", self._create)
        app.router.add_get("/v1/batches", self._list)
        app.router.add_get("/v1/batches/{id}", self._retrieve)
        return app

    @web.middleware
    async def _authorized(self, request: web.Request, handler: Any) -> web.StreamResponse:
        resource = request.match_info.route.resource
        self.calls[f"{request.method} {resource.canonical if resource else ''}"] += 1
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return refusal(401, f"Incorrect API key provided: {request.headers.get('Authorization', '')[7:]}.")
        return cast("web.StreamResponse", await handler(request))

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        assert form["purpose"] == "batch"
        if self.plan.drop_uploads:
            self.plan.drop_uploads -= 1
            return cut(request)
        name = f"file-{len(self.files)}"
        self.files[name] = upload.file.read()
        shown = {"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": 0, "filename": "r.jsonl"}
        return web.json_response({**shown, "purpose": "batch", "status": "processed"})

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        if self.files.pop(name, None) is None:
            return refusal(404, f"No such File object: {name}")
        return web.json_response({"id": name, "object": "file", "deleted": True})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        content = self.files.get(request.match_info["id"])
        if content is None:
            return refusal(404, "No such File object")
        if self.plan.damage_downloads:
            self.plan.damage_downloads -= 1
            content = content[: len(content) * 2 // 3]
        return web.Response(body=content, content_type="application/octet-stream")

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        keys = [line["custom_id"] for line in lines]
        if len(set(keys)) != len(keys) or len(keys) > 50_000:
            return refusal(400, "duplicate custom_id, or too many requests")
        name = f"batch-{len(self.batches)}"
        self.batches[name] = Batch(name, body["input_file_id"], body.get("metadata") or {}, keys, int(time.time()))
        self.paid.update(keys)
        if len(self.batches) - 1 == self.plan.stall_at:
            await asyncio.Event().wait()
        if self.plan.lose_created:
            self.plan.lose_created -= 1
            return cut(request)
        return web.json_response(self.batches[name].shown())

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if self.plan.without_batches:
            return refusal(404, "Not Found")
        names = list(self.batches)[::-1]
        after = request.query.get("after")
        names = names[names.index(after) + 1 :] if after else names
        page = [self.batches[name].shown() for name in names[:2]]
        last = page[-1]["id"] if page else None
        return web.json_response({"object": "list", "data": page, "has_more": len(names) > 2, "last_id": last})

    async def _retrieve(self, request: web.Request) -> web.StreamResponse:
        if self.plan.fail_looks:
            self.plan.fail_looks -= 1
            return refusal(503, "overloaded")
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return refusal(404, "No batch found")
        batch.looks += 1
        if batch.state == "validating":
            batch.state = "in_progress"
        if batch.state == "in_progress" and batch.looks >= self.plan.looks and not self.plan.hold:
            self._end(batch)
        return web.json_response(batch.shown())

    def _end(self, batch: Batch) -> None:
        number = int(batch.id.removeprefix("batch-"))
        batch.state = self.plan.end(number)
        if batch.state == "failed":
            batch.faults = [{"code": self.plan.fault, "message": "the file is wrong", "line": 3}]
            return
        lines = [json.loads(line) for line in self.files[batch.file].splitlines()]
        output, errors = [], []
        # The order of results is not that of the requests.
        for position, line in reversed(list(enumerate(lines))):
            fate = self.plan.fate(number, position)
            result = {"id": f"batch_req_{position}", "custom_id": line["custom_id"], "error": None}
            if fate == "answer":
                output.append({**result, "response": {"status_code": 200, "body": completion(line["body"])}})
            elif fate == "expire":
                error = {"code": "batch_expired", "message": "This request could not be executed in time."}
                errors.append({**result, "response": None, "error": error})
            elif fate != "lose":
                error = {"message": f"refused with {fate}", "type": "invalid_request_error", "code": None}
                errors.append({**result, "response": {"status_code": int(fate), "body": {"error": error}}})
        batch.counts = len(output), len(errors)
        batch.output = self._stored(f"{batch.id}-output", output)
        batch.errors = self._stored(f"{batch.id}-errors", errors)

    def _stored(self, name: str, lines: list[dict[str, Any]]) -> str | None:
        self.files[name] = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        return name if lines else None


def refusal(status: int, message: str) -> web.Response:
    """An error response in OpenAI's form."""
    return web.json_response({"error": {"message": message, "type": "error", "code": None}}, status=status)


def cut(request: web.Request) -> web.Response:
    """Break the connection off without a response."""
    if request.transport:
        request.transport.abort()
    return web.Response()


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """The chat completion that answers `body`; its text has a line separator that JSON need not escape."""
    message = {"role": "assistant", "content": reply_to(body, exchanges=0) + "\u2028"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def question(number: int) -> Request:
    """A request like those of text-to-persona."""
    schema = {"type": "object", "properties": {"persona": {"type": "string"}}, "required": ["persona"]}
    messages = (Message("system", "Describe one person."), Message("user", f"Document {number}."))
    form = ResponseFormat("json_schema", name="persona", schema=schema)
    return Request(STAGE, LANG, str(number), "gpt-4o-mini", messages, form, max_tokens=300)


def batch_settings(base_url: str, **batch: Any) -> LlmSettings:
    """Settings for this server, with short pauses."""
    return LlmSettings.model_validate(
        {
            "engine": "openai_batch",
            "base_url": base_url,
            "api_key_variable": "BATCH_TEST_KEY",
            "outage_patience_s": 20.0,
            "batch": {"poll_s": 0.02, "longest_poll_s": 0.05, **batch},
        }
    )


def main() -> None:
    """Ask COUNT questions by batches."""
    base_url, folder, count = sys.argv[1:]
    os.environ["BATCH_TEST_KEY"] = KEY
    settings = batch_settings(base_url, max_requests=10)
    with open_ledger(Path(folder), STAGE, LANG) as ledger:
        drive = Drive(ledger, ReplayEngine(), settings, STAGE, LANG)
        answer_by_batches([question(number) for number in range(int(count))], drive)


if __name__ == "__main__":
    main()

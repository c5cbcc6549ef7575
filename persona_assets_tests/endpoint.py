"""A simulated OpenAI-compatible endpoint: a real HTTP server whose faults can be switched on.

`python -m persona_assets_tests.endpoint --port 8000 --error-429 0.2` runs it alone; tests use `Endpoint`.
"""

import argparse
import asyncio
import hashlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self, cast
from urllib.request import ProxyHandler, Request, build_opener

from aiohttp import web

from persona_assets_tests.endpoint_texts import reply_to

KEY = "test-key-0123456789"
STATUS_FAULTS = {"error_500": 500, "error_429": 429, "error_503": 503}
FAULTS = (
    *STATUS_FAULTS,
    *("reset", "hang", "truncated_body", "html", "gigantic"),
    *("invalid_content", "empty_content", "length", "content_filter"),
)
MESSAGES = {
    429: (
        "Rate limit reached for requests per minute. Please try again later.",
        "requests",
        "rate_limit_exceeded",
    ),
    500: ("The server had an error while processing your request. Sorry about that!", "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "server_error", "overloaded"),
}


@dataclass
class Switches:
    """What the endpoint supports and how it fails; a fault's value is the share of attempts that meet it."""

    latency_s: float = 0.0
    error_500: float = 0.0
    error_429: float = 0.0
    error_503: float = 0.0
    reset: float = 0.0
    hang: float = 0.0
    truncated_body: float = 0.0
    html: float = 0.0
    gigantic: float = 0.0
    gigantic_mib: int = 32
    invalid_content: float = 0.0
    empty_content: float = 0.0
    length: float = 0.0
    content_filter: float = 0.0
    retry_after_s: float = 1.0
    retry_after_form: str = "seconds"  # or "date": an HTTP date, which has whole seconds only
    fail_first: int = 0  # attempts of each body that get `status`
    status: int = 503
    down_for_s: float = 0.0  # from now on, connections are reset without an answer
    structured_output: str = "json_schema"  # the most that is supported; then "json_object", "none"
    requests_per_window: int = 0  # more get 429, and all get x-ratelimit headers; 0 is no limit
    window_s: float = 1.0
    context_length: int = 0  # in tokens, of prompt and answer together; 0 is no limit
    exchanges: int = 0  # user-assistant pairs of a conversation; 0 leaves it to the schema, else 1
    models: str = "gpt-4o-mini,deepseek-chat,recorded-llm,tiny"
    seed: int = 0

    def changed(self, values: Mapping[str, Any]) -> "Switches":
        """Copy with new values. Raises ValueError for an unknown switch or a value of the wrong type."""
        kinds = {name: type(value) for name, value in asdict(self).items()}
        if unknown := values.keys() - kinds.keys():
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        return replace(self, **{name: kinds[name](value) for name, value in values.items()})


class Refusal(Exception):  # noqa: N818 - an answer of the protocol, not an error of this program
    """An error response in OpenAI's form; `fault` names the switch behind it, if one is."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        param: str | None = None,
        kind: str = "invalid_request_error",
        fault: str | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.fault = fault
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Simulation:
    """The server's state and its handlers."""

    def __init__(self, switches: Switches, log_path: Path | None = None):
        self._initial = switches
        self._log = log_path.open("a", encoding="utf-8") if log_path else None
        self._in_flight = 0
        self._restart()

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/_control", self._control)
        app.router.add_get("/_stats", self._stats)
        app.router.add_post("/_reset", self._reset)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, _app: web.Application) -> None:
        if self._log:
            self._log.close()
            self._log = None

    def _restart(self) -> None:
        self._switches = self._initial
        self._down_until = time.monotonic() + self._initial.down_for_s
        self._max_in_flight = self._in_flight
        self._attempts: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._by_status: Counter[int] = Counter()
        self._by_fault: Counter[str] = Counter()
        self._window_ends = 0.0
        self._in_window = 0

    async def _reset(self, _request: web.Request) -> web.Response:
        self._restart()
        return web.json_response({})

    async def _control(self, request: web.Request) -> web.Response:
        values = await request.json()
        try:
            self._switches = self._switches.changed(values)
        except (ValueError, TypeError) as error:
            raise web.HTTPBadRequest(reason=str(error)) from error
        # An outage under way goes on unless this call is about outages.
        if "down_for_s" in values:
            self._down_until = time.monotonic() + self._switches.down_for_s
        return web.json_response(asdict(self._switches))

    async def _stats(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "requests": self._attempts.total(),
                "by_status": self._by_status,
                "by_fault": self._by_fault,
                "distinct_bodies": len(self._attempts),
                "attempts": self._attempts,
                "answered": self._answered,
                "in_flight": self._in_flight,
                "max_in_flight": self._max_in_flight,
            }
        )

    async def _models(self, request: web.Request) -> web.StreamResponse:
        if time.monotonic() < self._down_until:
            return self._cut(request, web.Response(), "models", "down")
        try:
            authorize(request)
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.status)
        entries = [{"id": name, "object": "model", "created": 0} for name in self._switches.models.split(",")]
        return web.json_response({"object": "list", "data": entries})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body, digest = parse(await request.read())
        self._attempts[digest] += 1
        attempt = self._attempts[digest]
        self._in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self._in_flight)
        self._record(digest, "arrived")
        try:
            try:
                self._count_in_window()
                return await self._respond(request, body, digest, attempt)
            except Refusal as refusal:
                response = web.json_response(refusal.body, status=refusal.status)
                if refusal.status == 429:
                    response.headers["Retry-After"] = self._retry_after()
                return await self._send(request, response, digest, "refused", refusal.fault)
        except (asyncio.CancelledError, ConnectionError):
            self._record(digest, "disconnected")
            raise
        finally:
            self._in_flight -= 1

    async def _respond(
        self, request: web.Request, body: dict[str, Any], digest: str, attempt: int
    ) -> web.StreamResponse:
        if time.monotonic() < self._down_until:
            return self._cut(request, web.Response(), digest, "down")
        await asyncio.sleep(self._switches.latency_s)
        authorize(request)
        validate(body, self._switches)
        if attempt <= self._switches.fail_first:
            raise failure(self._switches.status, "fail_first")
        fault = next((name for name in FAULTS if self._strikes(name, digest, attempt)), None)
        if fault in STATUS_FAULTS:
            raise failure(STATUS_FAULTS[fault], fault)
        answer = json.dumps(completion(body, digest, self._switches, fault))
        half = answer[: len(answer) // 2]
        if fault == "hang":
            self._record(digest, "hanging", fault)
            await asyncio.Event().wait()
        if fault == "reset":
            stream = web.StreamResponse(headers={"Content-Length": str(len(answer))})
            stream.content_type = "application/json"
            await stream.prepare(request)
            await stream.write(half.encode())
            # Time for the client to read the first half: a reset throws away what it has not read.
            await asyncio.sleep(0.02)
            return self._cut(request, stream, digest, fault)
        if fault == "truncated_body":
            response = web.Response(text=half, content_type="application/json")
            return await self._send(request, response, digest, "failed", fault)
        if fault == "gigantic":
            stream = web.StreamResponse()
            stream.content_type = "application/json"
            self._record(digest, "failed", fault)
            await stream.prepare(request)
            for _ in range(self._switches.gigantic_mib * 16):
                await stream.write(b"{" * 2**16)
            return stream
        if fault == "html":
            response = web.Response(text="<!doctype html><title>Please sign in</title>", content_type="text/html")
            return await self._send(request, response, digest, "failed", fault)
        response = web.Response(text=answer, content_type="application/json")
        return await self._send(request, response, digest, "answered", fault)

    def _count_in_window(self) -> None:
        limit, now = self._switches.requests_per_window, time.monotonic()
        if not limit:
            return
        if now >= self._window_ends:
            self._window_ends, self._in_window = now + self._switches.window_s, 0
        self._in_window += 1
        if self._in_window > limit:
            raise failure(429, "window")

    def _rate_headers(self) -> dict[str, str]:
        limit = self._switches.requests_per_window
        if not limit:
            return {}
        left_ms = max(0, round((self._window_ends - time.monotonic()) * 1000))
        return {
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": str(max(0, limit - self._in_window)),
            "x-ratelimit-reset-requests": f"{left_ms}ms",
        }

    def _strikes(self, fault: str, digest: str, attempt: int) -> bool:
        mark = f"{digest} {attempt} {fault} {self._switches.seed}".encode()
        drawn = int.from_bytes(hashlib.blake2b(mark, digest_size=4).digest(), "big") / 2**32
        return drawn < float(getattr(self._switches, fault))

    def _retry_after(self) -> str:
        seconds = self._switches.retry_after_s
        if self._switches.retry_after_form == "date":
            return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
        return f"{seconds:g}"

    def _cut(self, request: web.Request, response: web.StreamResponse, digest: str, fault: str) -> web.StreamResponse:
        self._record(digest, "failed", fault)
        if transport := request.transport:
            # Without lingering, closing sends a reset rather than an orderly end.
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        return response

    async def _send(
        self, request: web.Request, response: web.Response, digest: str, event: str, fault: str | None
    ) -> web.Response:
        response.headers.update(self._rate_headers())
        # Sent here, not by aiohttp, so that "answered" is never noted for an answer that did not leave.
        await response.prepare(request)
        await response.write_eof()
        self._by_status[response.status] += 1
        self._answered.update([digest] if event == "answered" else [])
        self._record(digest, event, fault, response.status)
        return response

    def _record(self, digest: str, event: str, fault: str | None = None, status: int | None = None) -> None:
        self._by_fault.update([fault] if fault else [])
        if self._log:
            entry = {"t": time.time(), "hash": digest, "event": event, "fault": fault, "status": status}
            self._log.write(json.dumps(entry) + "\n")
            self._log.flush()


def parse(raw: bytes) -> tuple[dict[str, Any], str]:
    """The request and the hash that names it; what is no JSON object becomes an empty request."""
    body = None
    with suppress(ValueError):
        body = json.loads(raw)
    if not isinstance(body, dict):
        return {}, hashlib.blake2b(raw, digest_size=8).hexdigest()
    canonical = json.dumps(body, sort_keys=True).encode()
    return body, hashlib.blake2b(canonical, digest_size=8).hexdigest()


def authorize(request: web.Request) -> None:
    """Raise a Refusal without the right Bearer key; as OpenAI's, it echoes part of a wrong one."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not key:
        raise Refusal(401, "You didn't provide an API key.")
    if key != KEY:
        masked = f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}" if len(key) > 12 else key[:2] + "***"
        raise Refusal(401, f"Incorrect API key provided: {masked}.", "invalid_api_key")


def validate(body: Mapping[str, Any], switches: Switches) -> None:
    """Raise the Refusal that a real endpoint would answer to a request it cannot serve."""
    if not body:
        raise Refusal(400, "We could not parse the JSON body of your request.")
    model, messages = body.get("model"), body.get("messages")
    if model not in switches.models.split(","):
        raise Refusal(404, f"The model `{model}` does not exist.", "model_not_found", param="model")
    if not messages:
        message = "Missing required parameter: 'messages'."
        raise Refusal(400, message, "missing_required_parameter", param="messages")
    if body.get("stream"):
        raise Refusal(400, "Streaming is not simulated.", "unsupported_parameter", param="stream")
    text = json.dumps(messages, ensure_ascii=False)
    form, ladder = form_of(body), ("text", "none", "json_object", "json_schema")
    if form not in ladder or ladder.index(form) > ladder.index(switches.structured_output):
        message = f"This response_format type is unavailable now: {form}"
        raise Refusal(400, message, "invalid_request_error", param="response_format")
    if form == "json_object" and "json" not in text.lower():
        message = "'messages' must contain the word 'json' to use 'response_format' of type 'json_object'."
        raise Refusal(400, message, param="messages")
    wanted, limit = tokens(text) + room(body), switches.context_length
    if limit and wanted > limit:
        message = f"This model's maximum context length is {limit} tokens, but {wanted} tokens were requested."
        raise Refusal(400, message, "context_length_exceeded", param="messages")


def failure(status: int, fault: str) -> Refusal:
    """The error response of a switched-on fault."""
    message, kind, code = MESSAGES.get(status, (f"Simulated error {status}.", "server_error", None))
    return Refusal(status, message, code, kind=kind, fault=fault)


def form_of(body: Mapping[str, Any]) -> str:
    """The type of the response format asked for."""
    return str((body.get("response_format") or {}).get("type", "text"))


def room(body: Mapping[str, Any]) -> int:
    """Tokens that the request leaves for the answer; 0 where it sets no limit."""
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)


def tokens(text: str) -> int:
    """Estimate a token count: four UTF-8 bytes to a token."""
    return len(text.encode()) // 4 + 1


def completion(body: Mapping[str, Any], digest: str, switches: Switches, fault: str | None = None) -> dict[str, Any]:
    """The chat completion that answers `body`, with a fault of its content where one is named."""
    content = reply_to(body, exchanges=switches.exchanges)
    limit = tokens(content) // 2 if fault == "length" else room(body) or tokens(content)
    finish = "content_filter" if fault == "content_filter" else "stop"
    if fault == "invalid_content":
        content = "Sure! Here it is: " + content[: len(content) // 2]
    elif fault in ("empty_content", "content_filter"):
        content = ""
    elif tokens(content) > limit:
        content, finish = content.encode()[: limit * 4].decode(errors="ignore"), "length"
    message = {
        "role": "assistant",
        "content": None if fault == "content_filter" else content,
        "refusal": None,
    }
    asked = tokens(json.dumps(body["messages"], ensure_ascii=False))
    used = min(tokens(content), limit) if content else 0
    first = tokens(str(body["messages"][0].get("content", "")))
    return {
        "id": f"chatcmpl-{digest}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": used,
            "total_tokens": asked + used,
            "prompt_tokens_details": {"cached_tokens": first // 64 * 64},
        },
    }


async def serve(simulation: Simulation, *, port: int, ready: Callable[[int], None], until: Awaitable[object]) -> None:
    """Serve on 127.0.0.1 until `until` is done; `ready` gets the port, which is a free one for `port` 0."""
    # A client that goes away must cancel its handler, or a hang would stay in flight for ever.
    runner = web.AppRunner(simulation.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=2048).start()
        ready(runner.addresses[0][1])
        await until
    finally:
        await runner.cleanup()


class Endpoint:
    """A running simulated endpoint, in a process of its own or (`in_thread`) in a thread of the caller.

    `control` raises urllib.error.HTTPError, with the reason, for an unknown switch.
    """

    key = KEY

    def __init__(self, *, port: int = 0, log_path: Path | None = None, in_thread: bool = False, **switches: object):
        self.log_path = log_path
        self._port = port
        self._in_thread = in_thread
        self._switches = Switches().changed(switches)
        self._opener = build_opener(ProxyHandler({}))
        self._stop: Callable[[], None] = lambda: None
        self.base_url = ""

    def __enter__(self) -> Self:
        port = self._start_thread() if self._in_thread else self._start_process()
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def control(self, **switches: object) -> dict[str, Any]:
        """Set switches; returns them all."""
        return self._call("/_control", switches)

    def stats(self) -> dict[str, Any]:
        """What has happened since the start or the last `reset`."""
        return self._call("/_stats")

    def reset(self) -> None:
        """Forget all counts and attempts, and set the switches back to those given at the start."""
        self._call("/_reset", {})

    def events(self) -> list[dict[str, Any]]:
        """The entries of the log: t (seconds since the epoch), hash, event, fault, status.

        After "arrived", each request has one of the ends "answered" (a whole completion was sent),
        "refused" (an error status), "failed" (broken on the wire) and "disconnected" (the client left).
        """
        assert self.log_path, "give Endpoint a log_path"
        return [json.loads(line) for line in self.log_path.read_text(encoding="utf-8").splitlines()]

    def _call(self, path: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.base_url.removesuffix("/v1") + path, data=data)
        with self._opener.open(request, timeout=30) as response:
            return cast("dict[str, Any]", json.load(response))

    def _start_process(self) -> int:
        options = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(self._switches).items()]
        if self.log_path:
            options.append(f"--log={self.log_path.absolute()}")
        command = [
            sys.executable,
            "-m",
            "persona_assets_tests.endpoint",
            f"--port={self._port}",
            "--until-stdin-closes",
            *options,
        ]
        # A session of its own: Ctrl-C or a killed process group reaches the client, not the server.
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

        def stop() -> None:
            process.kill()
            process.communicate()

        self._stop = stop
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            stop()
            raise RuntimeError("the simulated endpoint did not start; its reason is on standard error")
        return int(line)

    def _start_thread(self) -> int:
        started: Future[tuple[int, Callable[[], None]]] = Future()

        async def run() -> None:
            loop, stop = asyncio.get_running_loop(), asyncio.Event()

            def ready(port: int) -> None:
                started.set_result((port, lambda: cast("None", loop.call_soon_threadsafe(stop.set))))

            simulation = Simulation(self._switches, self.log_path)
            await serve(simulation, port=self._port, ready=ready, until=stop.wait())

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        port, ask_to_stop = started.result(timeout=30)

        def stop() -> None:
            ask_to_stop()
            thread.join(timeout=10)

        self._stop = stop
        return port


def main() -> None:
    """Run the server alone; the first line of standard output is its port."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when the starter is gone")
    for name, default in asdict(Switches()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    options = vars(parser.parse_args())
    port, log, bound = (options.pop(name) for name in ("port", "log", "until_stdin_closes"))

    async def run() -> None:
        until = asyncio.to_thread(sys.stdin.read) if bound else asyncio.Event().wait()
        simulation = Simulation(Switches(**options), log)
        await serve(simulation, port=port, ready=lambda port: print(port, flush=True), until=until)

    with suppress(KeyboardInterrupt):
        asyncio.run(run())


if __name__ == "__main__":
    main()

"""The simulated server of `driver.py`, in a process of its own: fixed latency, faults at a fixed rate.

`Server(...)` starts it and stops it; alone: `python benchmarks/driver_server.py LATENCY_S FAULTS`.
"""

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Self

from aiohttp import web

PERSONA = "A retired marine biologist who records the tides of a small estuary every morning. "
SEED = 20
RETRY_AFTER_S = 1


class Server:
    """A running server; `base_url` is that of its OpenAI-compatible API.

    Args:
        latency_s: of every response, errors included.
        faults: share of 500s, and the same share of 429s with `Retry-After: 1`.
    """

    def __init__(self, latency_s: float, faults: float = 0.0) -> None:
        self._arguments = (str(latency_s), str(faults))
        self.base_url = ""

    def __enter__(self) -> Self:
        command = [sys.executable, str(Path(__file__)), *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        port = self._process.stdout.readline() if self._process.stdout else ""
        self.base_url = f"http://127.0.0.1:{int(port)}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _completion() -> bytes:
    message = {"role": "assistant", "content": json.dumps({"persona": PERSONA * 4}), "refusal": None}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "tiny",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 230, "completion_tokens": 80, "total_tokens": 310},
        }
    ).encode()


async def _serve(latency_s: float, faults: float) -> None:
    rng, body = random.Random(SEED), _completion()  # noqa: S311

    async def complete(request: web.Request) -> web.Response:
        await request.read()
        drawn = rng.random()
        await asyncio.sleep(latency_s)
        if drawn < faults:
            return web.json_response({"error": {"message": "server error"}}, status=500)
        if drawn < 2 * faults:
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return web.json_response({"error": {"message": "rate limit"}}, status=429, headers=headers)
        return web.Response(body=body, content_type="application/json")

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*map(float, sys.argv[1:3])))

"""What `driver.py` measures, one subject per process: `python benchmarks/driver_clients.py NAME URL ROWS IN_FLIGHT`.

Prints one JSON object: rows answered, wall and CPU seconds (all threads and children), peak memory
growth in MiB, and the version. The CPU time is less what a run with one row takes.
"""
# ruff: noqa: PLC0415  (only what is measured is imported)

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

DOCUMENT = "The estuary was quiet, and the ferry to the islands had not come in. " * 14
SCHEMA = {
    "type": "object",
    "properties": {"persona": {"type": "string"}},
    "required": ["persona"],
    "additionalProperties": False,
}
SYSTEM = 'Describe one person who is likely to read this text. Answer with JSON: {"persona": "…"}'
KEY = "benchmark-key"
RETRIES = 6

Run = Callable[[str, int, int], int]


def _parameters(number: int) -> dict[str, Any]:
    json_schema = {"name": "reply", "schema": SCHEMA, "strict": True}
    return {
        "model": "tiny",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{number} {DOCUMENT}"}],
        "temperature": 1.0,
        "top_p": 1.0,
        "max_tokens": 256,
        "response_format": {"type": "json_schema", "json_schema": json_schema},
    }


async def _spread(ask: Callable[[int], Awaitable[bool]], rows: int, in_flight: int) -> int:
    numbers, done = iter(range(rows)), 0

    async def work() -> None:
        nonlocal done
        for number in numbers:
            good = await ask(number)
            done += good

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return done


def bare_aiohttp(url: str, rows: int, in_flight: int) -> int:
    """Only aiohttp and `json`: the least that Python can do."""
    import aiohttp

    async def run() -> int:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask(number: int) -> bool:
                headers = {"Authorization": f"Bearer {KEY}"}
                async with session.post(f"{url}/chat/completions", json=_parameters(number), headers=headers) as reply:
                    return bool(json.loads(await reply.read())["choices"])

            return await _spread(ask, rows, in_flight)

    return asyncio.run(run())


def _openai(url: str, rows: int, in_flight: int, *, aiohttp: bool) -> int:
    import openai

    async def run() -> int:
        http = openai.DefaultAioHttpClient() if aiohttp else None
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=RETRIES, http_client=http) as client:

            async def ask(number: int) -> bool:
                try:
                    return bool((await client.chat.completions.create(**_parameters(number))).choices)
                except openai.APIError:
                    return False

            return await _spread(ask, rows, in_flight)

    return asyncio.run(run())


def openai_aiohttp(url: str, rows: int, in_flight: int) -> int:
    """The official client on aiohttp, six retries, no ledger."""
    return _openai(url, rows, in_flight, aiohttp=True)


def openai_default(url: str, rows: int, in_flight: int) -> int:
    """The official client on its default transport, six retries, no ledger."""
    return _openai(url, rows, in_flight, aiohttp=False)


def ours(url: str, rows: int, in_flight: int) -> int:
    """`LanguageModel.ask`: adaptive, retried, every answer in the ledger, read back in order."""
    from persona_assets.llm.model import LanguageModel
    from persona_assets.llm.requests import Answer, Message, Request, ResponseFormat
    from persona_assets.settings import LlmSettings

    class Questions:
        def __len__(self) -> int:
            return rows

        def __iter__(self) -> Iterator[Request]:
            form = ResponseFormat("json_schema", schema=SCHEMA)
            for number in range(rows):
                messages = (Message("system", SYSTEM), Message("user", f"{number} {DOCUMENT}"))
                yield Request("bench", "en", str(number), "tiny", messages, form, max_tokens=256)

    os.environ["OPENAI_API_KEY"] = KEY
    settings = LlmSettings(model="tiny", base_url=url, concurrency=in_flight)
    with tempfile.TemporaryDirectory() as folder:
        model = LanguageModel(settings, Path(folder))
        return sum(isinstance(outcome, Answer) for _, outcome in model.ask("bench", "en", Questions()))


SUBJECTS: dict[str, tuple[Run, str]] = {
    "bare aiohttp": (bare_aiohttp, "aiohttp"),
    "openai client, aiohttp": (openai_aiohttp, "openai"),
    "openai client, default": (openai_default, "openai"),
    "persona_assets": (ours, "persona-assets"),
}


def cpu_s() -> float:
    """CPU seconds of this process, its threads and its ended children."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measured(run: Run, url: str, rows: int, in_flight: int) -> dict[str, float]:
    """Run once to warm up, once to learn what a run costs however short it is, then measure."""
    run(url, 1, 1)
    cpu = cpu_s()
    run(url, 1, 1)
    start_up = cpu_s() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), cpu_s()
    done = run(url, rows, in_flight)
    return {
        "rows": done,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": cpu_s() - cpu - start_up,
        "grown_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024,
    }


def main() -> None:
    """Measure one subject."""
    name, url, rows, in_flight = sys.argv[1:5]
    run, distribution = SUBJECTS[name]
    result = measured(run, url, int(rows), int(in_flight))
    print(json.dumps({**result, "version": f"{distribution} {version(distribution)}"}))


if __name__ == "__main__":
    main()

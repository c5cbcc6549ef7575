"""The ledger's part of `driver.py`: replay, look-ups in a large ledger, and memory that does not grow.

Each function runs in a process of its own: `python benchmarks/driver_ledger.py NAME ARGUMENT…`, and
prints one JSON object.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from driver_clients import DOCUMENT, KEY, SCHEMA, SYSTEM

from persona_assets.llm.driver import Drive, answer_all
from persona_assets.llm.engines.replay import ReplayEngine
from persona_assets.llm.ledger import open_ledger
from persona_assets.llm.model import LanguageModel
from persona_assets.llm.requests import Answer, Message, Request, ResponseFormat
from persona_assets.settings import LlmSettings

STAGE, LANG = "bench", "en"


class Questions:
    """Requests made anew at each iteration, as a stage makes them from its documents."""

    def __init__(self, count: int, document: str = DOCUMENT) -> None:
        self._count = count
        self._document = document

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Request]:
        form = ResponseFormat("json_schema", schema=SCHEMA)
        for number in range(self._count):
            messages = (Message("system", SYSTEM), Message("user", f"{number} {self._document}"))
            yield Request(STAGE, LANG, str(number), "tiny", messages, form, max_tokens=256)


def _answers(count: int) -> Iterator[Answer]:
    text = json.dumps({"persona": "A retired marine biologist who records the tides. " * 6})
    for request in Questions(count):
        yield Answer(request.key, text, "stop", 256, "tiny", "host", 230, 0, 80, 0.2, 1, "2026-01-01T00:00:00+00:00")


def replay(count: int) -> dict[str, float]:
    """Answers read back per CPU second, through `LanguageModel.ask`."""
    with tempfile.TemporaryDirectory() as folder:
        with open_ledger(Path(folder), STAGE, LANG) as ledger:
            ledger.record_all(_answers(count))
        model = LanguageModel(LlmSettings(engine="replay", model="tiny"), Path(folder))
        started = time.process_time()
        replayed = sum(isinstance(outcome, Answer) for _, outcome in model.ask(STAGE, LANG, Questions(count)))
        cpu = time.process_time() - started
    return {"replayed": replayed, "cpu_s": cpu, "per_cpu_s": replayed / cpu}


def match(count: int) -> dict[str, float]:
    """Opening a ledger of `count` answers and matching `count` requests against it."""
    with tempfile.TemporaryDirectory() as folder:
        with open_ledger(Path(folder), STAGE, LANG) as ledger:
            ledger.record_all(_answers(count))
        started = time.perf_counter()
        with open_ledger(Path(folder), STAGE, LANG) as ledger:
            settings = LlmSettings(engine="replay", model="tiny")
            tally = answer_all(Questions(count), Drive(ledger, ReplayEngine(), settings, STAGE, LANG))
        wall = time.perf_counter() - started
    return {"matched": tally.from_ledger, "wall_s": wall, "peak_mib": _peak_mib()}


def memory(few: int, many: int, url: str) -> dict[str, float]:
    """How much the peak memory grows from a stage of `few` requests to one of `many`, answered by a server."""
    os.environ["OPENAI_API_KEY"] = KEY
    settings = LlmSettings(model="tiny", base_url=url, concurrency=64)
    peaks = []
    for count in (few, many):
        with tempfile.TemporaryDirectory() as folder:
            for _ in LanguageModel(settings, Path(folder)).ask(STAGE, LANG, Questions(count, "A short text.")):
                pass
        peaks.append(_peak_mib())
    return {"few_mib": peaks[0], "many_mib": peaks[1], "grown_mib": peaks[1] - peaks[0]}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run the function named first, with the arguments behind it."""
    functions: dict[str, Callable[..., dict[str, Any]]] = {"replay": replay, "match": match, "memory": memory}
    name, *arguments = sys.argv[1:]
    numbers = [int(argument) if argument.isdecimal() else argument for argument in arguments]
    print(json.dumps(functions[name](*numbers)))


if __name__ == "__main__":
    main()

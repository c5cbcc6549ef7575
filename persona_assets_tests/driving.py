"""Asking a simulated endpoint as a stage does: requests, a model, and a process of its own to kill."""

import multiprocessing
import multiprocessing.process
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona_assets.llm.ledger import Ledger, read_ledger
from persona_assets.llm.model import LanguageModel
from persona_assets.llm.requests import Answer, Message, Outcome, Request, ResponseFormat
from persona_assets.llm.spending import Spending
from persona_assets.settings import BudgetSettings, LlmSettings
from persona_assets_tests.endpoint import KEY, Endpoint

STAGE, LANG = "text_to_persona", "en"
SCHEMA = {
    "type": "object",
    "properties": {"persona": {"type": "string"}},
    "required": ["persona"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Questions:
    """So many distinct requests, made anew whenever they are iterated."""

    count: int
    lang: str = LANG
    model: str = "tiny"
    max_tokens: int = 256
    first: int = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Request]:
        for number in range(self.first, self.first + self.count):
            yield question(number, lang=self.lang, model=self.model, max_tokens=self.max_tokens)


def question(number: int, text: str = "", **changed: Any) -> Request:
    """A request for a persona; equal numbers give equal requests."""
    messages = (
        Message("system", "Describe one person who is likely to read this."),
        Message("user", f"Document {number}: {text or 'The estuary was quiet.'}"),
    )
    form = ResponseFormat("json_schema", schema=SCHEMA)
    usual = {"stage": STAGE, "lang": LANG, "model": "tiny", "max_tokens": 256, "response_format": form}
    return Request(**{"origin": f"doc-{number}", "messages": messages, **usual, **changed})


def settings_for(endpoint: Endpoint, **changed: Any) -> LlmSettings:
    """Settings that ask `endpoint`, patient enough for tests."""
    return LlmSettings(
        **{"model": "tiny", "base_url": endpoint.base_url, "timeout_s": 5.0, "concurrency": 64, **changed}
    )


def model_for(endpoint: Endpoint, folder: Path, budget: BudgetSettings | None = None, **changed: Any) -> LanguageModel:
    """A model with a ledger in `folder` and a run of its own; the key is in the environment."""
    os.environ["OPENAI_API_KEY"] = KEY
    return LanguageModel(settings_for(endpoint, **changed), folder, budget, Spending())


def ask(model: LanguageModel, questions: Any) -> list[tuple[Request, Outcome]]:
    """Ask, and read all the outcomes."""
    return list(model.ask(STAGE, LANG, questions))


def answered(pairs: list[tuple[Request, Outcome]]) -> list[Answer]:
    """The answers among the outcomes."""
    return [outcome for _, outcome in pairs if isinstance(outcome, Answer)]


def stored(folder: Path) -> list[Answer]:
    """The answers in the ledger, which must be sound."""
    with read_ledger(folder, STAGE, LANG) as ledger:
        assert integrity(ledger) == "ok"
        return list(ledger.answers())


def integrity(ledger: Ledger) -> str:
    """What SQLite finds when it checks the whole file."""
    return str(ledger._connection.execute("pragma integrity_check").fetchone()[0])


def start_asking(
    base_url: str, folder: Path, count: int, *, key: str = KEY, **changed: object
) -> "subprocess.Popen[str]":
    """Ask `count` questions in a process of its own, with settings given as text."""
    command = [sys.executable, "-m", __name__, base_url, str(folder), str(count)]
    command += [f"{name}={value}" for name, value in changed.items()]
    environment = {**os.environ, "OPENAI_API_KEY": key}
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[1],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fork_asking(base_url: str, folder: Path, count: int, **changed: object) -> multiprocessing.process.BaseProcess:
    """The same, from a server that has imported everything: started in no time, and killed as well."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "persona_assets.llm.engines.openai", "openai.resources.chat"])
    process = context.Process(target=_ask_alone, args=(base_url, folder, count, changed))
    process.start()
    return process


def _ask_alone(base_url: str, folder: Path, count: int, changed: dict[str, Any]) -> None:
    os.environ["OPENAI_API_KEY"] = KEY
    settings = LlmSettings.model_validate({"model": "tiny", "base_url": base_url, **changed})
    pairs = list(LanguageModel(settings, folder).ask(STAGE, LANG, Questions(count)))
    sys.exit(0 if len(answered(pairs)) == count else 1)


def wait_until(holds: Any, seconds: float = 20.0) -> None:
    """Poll until `holds()` is true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def main() -> None:
    """Ask and print how many answers there are; one line on standard error if it cannot be done."""
    base_url, folder, count, *changed = sys.argv[1:]
    settings = LlmSettings.model_validate(
        {"model": "tiny", "base_url": base_url, **dict(pair.split("=", 1) for pair in changed)}
    )
    from persona_assets.errors import explain

    try:
        model = LanguageModel(settings, Path(folder))
        print(len(answered(list(model.ask(STAGE, LANG, Questions(int(count)))))))
    except Exception as error:
        cause = explain(error)
        if cause is None:
            raise
        sys.exit(f"error: {cause}")


if __name__ == "__main__":
    main()

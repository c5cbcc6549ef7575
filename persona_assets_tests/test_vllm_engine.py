"""The vLLM engine, on the real thing: `make test-vllm`. What needs no vLLM runs everywhere."""

import asyncio
import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from persona_assets.errors import EndpointError, ModelMissingError, ProfileError
from persona_assets.llm.driver import Drive, answer_all
from persona_assets.llm.engines import vllm_process
from persona_assets.llm.engines.base import AskError
from persona_assets.llm.engines.vllm import VllmEngine
from persona_assets.llm.engines.vllm_guard import started_at
from persona_assets.llm.engines.vllm_schema import bounded
from persona_assets.llm.engines.vllm_weights import check_vllm, locate_weights
from persona_assets.llm.ledger import open_ledger
from persona_assets.llm.requests import Answer, Request
from persona_assets.settings import LlmSettings, VllmSettings
from persona_assets_tests.tiny_vllm import (
    CONTEXT,
    CPU_ENVIRONMENT,
    LANG,
    SCHEMA,
    STAGE,
    ask_all,
    make_tiny_model,
    question,
    tiny_settings,
)

PROJECT = Path(__file__).parents[1]


def test_unbounded_strings_and_arrays_get_bounds_and_bounded_ones_keep_theirs():
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "role": {"type": "string", "enum": ["user", "assistant"]},
            "short": {"type": "string", "maxLength": 5},
            "turns": {"type": "array", "items": {"$ref": "#/$defs/turn"}},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}], "maxItems": 1},
            "maybe": {"type": ["string", "null"]},
        },
        "$defs": {"turn": {"type": "object", "properties": {"text": {"type": "string", "minLength": 90}}}},
    }
    before = json.dumps(schema)
    properties = bounded(schema, max_chars=80, max_items=7)["properties"]
    assert properties["type"]["maxLength"] == 80
    assert "maxLength" not in properties["role"]
    assert properties["short"]["maxLength"] == 5
    assert properties["turns"] == {"type": "array", "items": {"$ref": "#/$defs/turn"}, "maxItems": 7}
    assert properties["pair"]["maxItems"] == 1
    assert properties["pair"]["prefixItems"][0]["maxLength"] == 80
    assert properties["maybe"]["maxLength"] == 80
    turn = bounded(schema, max_chars=80, max_items=7)["$defs"]["turn"]
    assert turn["properties"]["text"]["maxLength"] == 90
    assert json.dumps(schema) == before


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_the_message_says_how_to_get_it_or_do_without():
    with pytest.raises(ModelMissingError, match=r"pip install 'persona-assets\[vllm\]'.*vllm serve"):
        check_vllm(LlmSettings(engine="vllm"))


def test_weights_are_found_in_a_folder_or_in_the_hugging_face_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = LlmSettings(engine="vllm", model="owner/name")
    with pytest.raises(ModelMissingError, match="hf download owner/name,"):
        locate_weights(settings)
    cached = tmp_path / "hub" / "models--owner--name"
    for commit in ("aaa", "bbb"):
        (cached / "snapshots" / commit).mkdir(parents=True)
        (cached / "snapshots" / commit / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("aaa")
    assert locate_weights(settings) == cached / "snapshots" / "aaa"
    pinned = settings.model_copy(update={"vllm": VllmSettings(revision="bbb")})
    assert locate_weights(pinned) == cached / "snapshots" / "bbb"
    other = settings.model_copy(update={"vllm": VllmSettings(revision="ccc")})
    with pytest.raises(ModelMissingError, match="hf download owner/name --revision ccc"):
        locate_weights(other)


def test_a_folder_that_is_missing_or_holds_no_model_is_named(tmp_path: Path):
    for path, said in ((tmp_path / "nowhere", "no such folder"), (tmp_path, "no config.json")):
        with pytest.raises(ModelMissingError, match=said) as refusal:
            locate_weights(LlmSettings(engine="vllm", vllm=VllmSettings(path=str(path))))
        assert str(path) in str(refusal.value)


OWNER = """
import subprocess, sys, time
from persona_assets.llm.engines.vllm_guard import Guard
engine = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
guard = Guard()
guard.watch([engine.pid])
if sys.argv[1] == "release":
    guard.release()
print(engine.pid, flush=True)
time.sleep(600)
"""


def test_the_engine_of_a_killed_process_is_ended_and_a_released_one_is_not():
    engines = {}
    for how in ("release", "keep"):
        owner = subprocess.Popen([sys.executable, "-c", OWNER, how], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        assert owner.stdout
        engines[how] = int(owner.stdout.readline())
        owner.kill()
        owner.communicate()
    try:
        wait_until(lambda: started_at(engines["keep"]) is None)
        assert started_at(engines["release"]) is not None
    finally:
        os.kill(engines["release"], signal.SIGKILL)


def wait_until(true: Callable[[], bool], *, at_most_s: float = 90.0) -> None:
    deadline = time.monotonic() + at_most_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


# From here on with the real engine.


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("vllm", reason="needs the vLLM environment: make test-vllm")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CPU_ENVIRONMENT.items():
            patch.setenv(name, value)
        yield make_tiny_model(tmp_path_factory.mktemp("tiny"))
        vllm_process.release()


@pytest.fixture(scope="module")
def settings(model: Path) -> LlmSettings:
    return tiny_settings(model)


def ask(settings: LlmSettings, request: Request) -> Answer:
    return asyncio.run(VllmEngine(settings).ask(request))


def valid(answer: Answer) -> bool:
    said = json.loads(answer.text)
    return set(said) == set(SCHEMA["required"]) and said["relation"] in ("read", "write") and len(said["persona"]) <= 60


@pytest.mark.vllm
def test_every_answer_has_the_form_of_the_schema_and_says_what_it_used(settings: LlmSettings, tmp_path: Path):
    requests = [question(number) for number in range(48)]
    with open_ledger(tmp_path, STAGE, LANG) as ledger:
        tally = answer_all(requests, Drive(ledger, VllmEngine(settings), settings, STAGE, LANG))
        answers = list(ledger.answers())
    assert (tally.answered, tally.from_ledger) == (48, 0)
    assert {answer.key for answer in answers} == {question(number).key for number in range(48)}
    assert all(valid(answer) and answer.finish_reason == "stop" for answer in answers)
    assert all(answer.prompt_tokens and answer.completion_tokens and answer.latency_s for answer in answers)
    assert {(answer.model, answer.endpoint) for answer in answers} == {("tiny", "vllm")}


@pytest.mark.vllm
def test_stages_with_loops_of_their_own_share_one_engine(settings: LlmSettings):
    ask(settings, question(0))
    first = vllm_process.loaded(settings)
    ask(settings.model_copy(update={"temperature": 0.3}), question(1))
    assert first is not None
    assert vllm_process.loaded(settings) is first


@pytest.mark.vllm
def test_the_beginning_that_prompts_share_is_computed_once(settings: LlmSettings):
    long = "The same instructions for everyone, written out at length. " * 12
    ask(settings, question(1, text=long))
    again = ask(settings, question(1, text=long + "And one more."))
    assert again.cached_tokens is not None
    assert again.cached_tokens > 100


@pytest.mark.vllm
def test_other_forms_and_the_token_limit(settings: LlmSettings):
    free = ask(settings, question(1, kind="none", max_tokens=5))
    assert (free.finish_reason, free.completion_tokens, free.max_tokens) == ("length", 5, 5)
    assert free.truncated
    assert ask(settings, question(2, kind="json_object", max_tokens=5)).text.startswith("{")


@pytest.mark.vllm
def test_room_for_the_answer_is_what_the_prompt_leaves_and_a_prompt_without_room_is_refused(settings: LlmSettings):
    answer = ask(settings, question(1, kind="none", max_tokens=10 * CONTEXT, text="word " * 50))
    assert answer.prompt_tokens
    assert answer.completion_tokens
    assert answer.prompt_tokens + answer.completion_tokens <= CONTEXT
    with pytest.raises(AskError) as refusal:
        ask(settings, question(1, text="word " * 2 * CONTEXT))
    assert (refusal.value.kind, refusal.value.retryable) == ("context_too_long", False)


@pytest.mark.vllm
def test_a_schema_that_cannot_be_enforced_and_an_unknown_argument_are_one_line_each(settings: LlmSettings):
    strange = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?<=x)y"}}, "required": ["a"]}
    with pytest.raises(EndpointError, match=r"^vLLM cannot hold .* JSON schema .*llm\.structured_output"):
        ask(settings, question(1, schema=strange))
    wrong = settings.vllm.model_copy(update={"extra": {"max_num_seq": 4}})
    with pytest.raises(ProfileError, match="did you mean 'max_num_seqs'"):
        vllm_process.engine_arguments(settings.model_copy(update={"vllm": wrong}))
    assert ask(settings, question(3)).text


def stored(folder: Path) -> set[str]:
    path = folder / LANG / f"{STAGE}.sqlite"
    if not path.is_file():
        return set()
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return {key for (key,) in connection.execute("select key from answers")}
    except sqlite3.OperationalError:
        return set()


def descendants(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def engine_process() -> int:
    import psutil

    return next(child.pid for child in psutil.Process().children() if "EngineCore" in " ".join(child.cmdline()))


@pytest.mark.vllm
def test_a_killed_run_has_kept_its_answers_leaves_no_engine_and_resumes_with_the_rest(
    settings: LlmSettings, model: Path, tmp_path: Path
):
    asking = [sys.executable, "-m", "persona_assets_tests.tiny_vllm", str(model), str(tmp_path), "2000"]
    run = subprocess.Popen(asking, cwd=PROJECT, start_new_session=True)
    try:
        wait_until(lambda: len(stored(tmp_path)) >= 20 or run.poll() is not None)
        children = descendants(run.pid)
    finally:
        run.kill()
        run.wait()
    kept = stored(tmp_path)
    assert 20 <= len(kept) < 2000
    wait_until(lambda: all(started_at(child) is None for child in children))
    asked = []

    class Watched(VllmEngine):
        async def ask(self, request: Request) -> Answer:
            asked.append(request.key)
            return await super().ask(request)

    # All that was kept is among the first ones, because they were asked in order.
    rest = [question(number) for number in range(len(kept) + 40)]
    with open_ledger(tmp_path, STAGE, LANG) as ledger:
        asyncio.run(ask_all(Watched(settings), rest, ledger))
        assert all(valid(answer) for answer in ledger.answers())
    assert set(asked) == {request.key for request in rest} - kept
    assert len(asked) == len(set(asked))


@pytest.mark.vllm
def test_an_engine_that_dies_is_one_line_keeps_its_answers_and_is_loaded_anew(settings: LlmSettings, tmp_path: Path):
    ask(settings, question(0))
    first = vllm_process.loaded(settings)
    requests = [question(number) for number in range(1000)]

    class Mortal(VllmEngine):
        async def ask(self, request: Request) -> Answer:
            if len(stored(tmp_path)) == 30:
                # As the kernel does when memory runs out.
                os.kill(engine_process(), signal.SIGKILL)
            return await super().ask(request)

    with open_ledger(tmp_path, STAGE, LANG) as ledger:
        with pytest.raises(ExceptionGroup) as failure:
            asyncio.run(ask_all(Mortal(settings), requests, ledger))
        fault = failure.value.exceptions[0]
        assert isinstance(fault, EndpointError)
        assert "the vLLM engine has died" in str(fault)
        assert "\n" not in str(fault)
        kept = len(ledger)
        assert kept >= 30
        asyncio.run(ask_all(VllmEngine(settings), requests[: kept + 10], ledger))
        assert len(ledger) >= kept + 10
    assert vllm_process.loaded(settings) is not first

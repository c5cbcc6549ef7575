"""The same model behind `vllm serve`, asked over HTTP with engine = "openai": `make test-vllm`."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

from persona_assets.errors import EndpointError
from persona_assets.llm.model import LanguageModel
from persona_assets.llm.requests import Answer, Failure
from persona_assets.settings import LlmSettings
from persona_assets_tests.tiny_vllm import CONTEXT, CPU_ENVIRONMENT, LANG, SCHEMA, STAGE, make_tiny_model, question

pytestmark = pytest.mark.vllm

# Over HTTP the schema goes out as it is, so it must bring its bounds along.
PERSONA = {"type": "string", "maxLength": 60}
BOUNDED = {**SCHEMA, "properties": {**SCHEMA["properties"], "persona": PERSONA}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("vllm", reason="needs the vLLM environment: make test-vllm")
    model = make_tiny_model(tmp_path_factory.mktemp("tiny"))
    port = free_port()
    # The script `vllm` of the CPU build does not find its own distribution; this is what it runs.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={model}"]
    command += ["--served-model-name=tiny", "--host=127.0.0.1", f"--port={port}", f"--max-model-len={CONTEXT}"]
    command += ["--load-format=dummy", "--dtype=float32", "--enforce-eager", "--no-enable-chunked-prefill"]
    command += ['--structured-outputs-config={"backend": "guidance", "disable_any_whitespace": true}']
    log = tmp_path_factory.mktemp("log") / "server"
    with log.open("w") as out:
        process = subprocess.Popen(command, env={**os.environ, **CPU_ENVIRONMENT}, stdout=out, stderr=out)
    try:
        opener, deadline = build_opener(ProxyHandler({})), time.monotonic() + 240
        while True:
            assert process.poll() is None, log.read_text(encoding="utf-8")[-3000:]
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")[-3000:]
            try:
                opener.open(f"http://127.0.0.1:{port}/health", timeout=5).close()
            except (URLError, OSError):
                time.sleep(0.2)
            else:
                break
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=60)


def settings(server: str, **more: object) -> LlmSettings:
    return LlmSettings.model_validate(
        {"engine": "openai", "model": "tiny", "base_url": server, "reask": False, "max_failed_share": 0.5, **more}
    )


def test_a_served_model_answers_by_the_schema_and_refuses_what_is_too_long(server: str, tmp_path: Path):
    requests = [question(number, schema=BOUNDED) for number in range(64)]
    requests.append(question(64, schema=BOUNDED, text="word " * 2 * CONTEXT))
    pairs = LanguageModel(settings(server), tmp_path).ask(STAGE, LANG, requests)
    outcomes = [outcome for _, outcome in pairs]
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    assert len(answers) == 64
    for answer in answers:
        said = json.loads(answer.text)
        assert said["relation"] in ("read", "write")
        assert len(said["persona"]) <= 60
        assert answer.finish_reason == "stop"
        assert answer.prompt_tokens
    refused = outcomes[-1]
    assert isinstance(refused, Failure)
    assert (refused.kind, refused.permanent) == ("context_too_long", True)


def test_a_model_that_is_not_served_is_one_line(server: str, tmp_path: Path):
    with pytest.raises(EndpointError, match=r"knows no model 'other'"):
        list(LanguageModel(settings(server, model="other"), tmp_path).ask(STAGE, LANG, [question(1, model="other")]))

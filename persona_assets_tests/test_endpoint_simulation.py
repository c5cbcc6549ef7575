import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from persona_assets_tests.endpoint import Endpoint
from persona_assets_tests.endpoint_texts import PHRASES, language_of

SCHEMA = {
    "type": "object",
    "properties": {"relation": {"type": "string"}, "persona": {"type": "string"}},
    "required": ["relation", "persona"],
    "additionalProperties": False,
}
SYSTEM = {
    "es": 'Describe a una persona que conozca los hechos. Responde con JSON: {"persona": "…"}',
    "eu": 'Deskribatu pertsona bat eta erantzun JSON honekin, ez besterik: {"persona": "…"}',
    "zh": '请写一个人物，只输出 JSON：{"persona": "人物描述"}',
    "ar": 'صف شخصية واحدة وأجب بكائن JSON فقط: {"persona": "…"}',
    "en": 'Describe one person who is likely to read this. Answer with JSON: {"persona": "…"}',
}
NETWORK_ERRORS = (OSError, HTTPException)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with Endpoint(log_path=tmp_path_factory.mktemp("endpoint") / "arrivals.jsonl") as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    server.reset()
    return server


def chat(text: str = "a document", *, system: str = SYSTEM["en"], **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return {"model": "tiny", "messages": messages, **more}


def ask(endpoint: Endpoint, body: object, *, key: str | None = None, timeout: float = 30.0) -> tuple[Any, str]:
    """The response object and its body, error responses included."""
    headers = {"Authorization": f"Bearer {key or endpoint.key}", "Content-Type": "application/json"}
    request = Request(f"{endpoint.base_url}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=timeout) as response:
            return response, response.read().decode()
    except HTTPError as error:
        return error, error.read().decode()


def choice(endpoint: Endpoint, body: object) -> dict[str, Any]:
    return json.loads(ask(endpoint, body)[1])["choices"][0]


def content(endpoint: Endpoint, body: object) -> Any:
    return json.loads(choice(endpoint, body)["message"]["content"])


def json_schema(schema: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)


@pytest.mark.parametrize("lang", list(SYSTEM))
def test_a_persona_comes_in_the_language_of_the_prompt_and_differs_by_document(endpoint: Endpoint, lang: str):
    texts = [content(endpoint, chat(f"document {n}", system=SYSTEM[lang]))["persona"] for n in range(30)]
    assert len(set(texts)) == 30
    assert {language_of(text) for text in texts} == {lang}


def test_every_language_has_enough_clauses():
    for phrases in PHRASES.values():
        assert all(len(set(part)) >= 12 for part in (phrases.openings, phrases.middles, phrases.ends))


def test_the_same_request_gets_the_same_reply_with_usage(endpoint: Endpoint):
    first, second = (json.loads(ask(endpoint, chat("same"))[1]) for _ in range(2))
    assert first == second
    usage = first["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert first["choices"][0]["finish_reason"] == "stop"


def test_the_schema_decides_the_keys(endpoint: Endpoint):
    assert list(content(endpoint, chat(response_format=json_schema(SCHEMA)))) == ["relation", "persona"]


def test_a_conversation_takes_its_theme_and_length_from_the_schema_and_alternates(endpoint: Endpoint):
    theme = {"type": "string", "enum": ["health", "music"]}
    properties = {"theme": theme, "messages": {"type": "array", "minItems": 6, "maxItems": 6}}
    reply = content(endpoint, chat(response_format=json_schema({"type": "object", "properties": properties})))
    assert reply["theme"] == "health"
    assert [turn["role"] for turn in reply["messages"]] == ["user", "assistant"] * 3
    assert len({turn["content"] for turn in reply["messages"]}) == 6


def test_a_conversation_without_a_schema_has_one_exchange_unless_more_are_wanted(endpoint: Endpoint):
    body = chat(system='Write a conversation: {"theme": "…", "messages": […]}')
    assert content(endpoint, body)["theme"] == "education"
    assert len(content(endpoint, body)["messages"]) == 2
    endpoint.control(exchanges=3)
    assert len(content(endpoint, body)["messages"]) == 6


def test_a_wrong_key_is_refused_and_partly_echoed(endpoint: Endpoint):
    response, text = ask(endpoint, chat(), key="sk-wrong-0123456789-tail")
    error = json.loads(text)["error"]
    assert (response.status, error["code"]) == (401, "invalid_api_key")
    assert "sk-wrong" in error["message"]
    assert "0123456789" not in error["message"]


@pytest.mark.parametrize(
    ("body", "switches", "status", "naming"),
    [
        (chat() | {"model": "nobody"}, {}, 404, "model_not_found"),
        ({"model": "tiny"}, {}, 400, "messages"),
        ("no object", {}, 400, "parse"),
        (
            chat(response_format=json_schema(SCHEMA)),
            {"structured_output": "json_object"},
            400,
            "response_format",
        ),
        (
            chat(response_format={"type": "json_object"}),
            {"structured_output": "none"},
            400,
            "response_format",
        ),
        (
            chat(system="Hello", response_format={"type": "json_object"}),
            {},
            400,
            "must contain the word 'json'",
        ),
        (chat("word " * 1000, max_tokens=100), {"context_length": 1000}, 400, "context_length_exceeded"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_with_its_reason(
    endpoint: Endpoint, body: object, switches: dict[str, Any], status: int, naming: str
):
    endpoint.control(**switches)
    response, text = ask(endpoint, body)
    assert response.status == status
    assert naming in text


def test_models_are_listed_only_with_the_key(endpoint: Endpoint):
    opener = build_opener(ProxyHandler({}))
    with pytest.raises(HTTPError, match="401"):
        opener.open(f"{endpoint.base_url}/models")
    request = Request(f"{endpoint.base_url}/models", headers={"Authorization": f"Bearer {endpoint.key}"})
    with opener.open(request) as response:
        assert "tiny" in [entry["id"] for entry in json.load(response)["data"]]


def test_a_small_token_limit_cuts_the_same_reply(endpoint: Endpoint):
    whole, cut = choice(endpoint, chat()), choice(endpoint, chat(max_tokens=5))
    assert cut["finish_reason"] == "length"
    assert whole["message"]["content"].startswith(cut["message"]["content"])


@pytest.mark.parametrize(("fault", "status"), [("error_500", 500), ("error_429", 429), ("error_503", 503)])
def test_an_error_status_can_be_switched_on(endpoint: Endpoint, fault: str, status: int):
    endpoint.control(**{fault: 1.0})
    response, text = ask(endpoint, chat())
    assert response.status == status
    assert json.loads(text)["error"]["message"]
    assert endpoint.stats()["by_status"] == {str(status): 1}


def test_a_rate_limit_says_when_to_retry_in_seconds_or_as_a_date(endpoint: Endpoint):
    endpoint.control(error_429=1.0, retry_after_s=7)
    assert ask(endpoint, chat())[0].headers["Retry-After"] == "7"
    endpoint.control(retry_after_form="date")
    assert parsedate_to_datetime(ask(endpoint, chat())[0].headers["Retry-After"]).tzinfo


@pytest.mark.parametrize(
    ("fault", "finish", "text"),
    [("empty_content", "stop", ""), ("content_filter", "content_filter", None)],
)
def test_content_can_be_withheld(endpoint: Endpoint, fault: str, finish: str, text: str | None):
    endpoint.control(**{fault: 1.0})
    got = choice(endpoint, chat())
    assert (got["finish_reason"], got["message"]["content"]) == (finish, text)


@pytest.mark.parametrize(("fault", "finish"), [("invalid_content", "stop"), ("length", "length")])
def test_content_can_be_broken(endpoint: Endpoint, fault: str, finish: str):
    endpoint.control(**{fault: 1.0})
    got = choice(endpoint, chat())
    assert got["finish_reason"] == finish
    with pytest.raises(json.JSONDecodeError):
        json.loads(got["message"]["content"])


def test_a_body_can_be_truncated_json_or_a_page(endpoint: Endpoint):
    endpoint.control(truncated_body=1.0)
    response, text = ask(endpoint, chat())
    assert (response.status, response.headers.get_content_type()) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    endpoint.control(truncated_body=0, html=1.0)
    assert ask(endpoint, chat())[0].headers.get_content_type() == "text/html"
    assert endpoint.stats()["answered"] == {}


def test_a_connection_can_be_reset_in_mid_body(endpoint: Endpoint):
    endpoint.control(reset=1.0)
    with pytest.raises(NETWORK_ERRORS):
        ask(endpoint, chat())
    assert endpoint.stats()["by_fault"] == {"reset": 1}


def test_a_hang_lasts_until_the_client_leaves(endpoint: Endpoint):
    endpoint.control(hang=1.0)
    with pytest.raises(TimeoutError):
        ask(endpoint, chat(), timeout=0.5)
    wait_for(lambda: endpoint.stats()["in_flight"] == 0)
    assert endpoint.events()[-1]["event"] == "disconnected"


def test_an_outage_resets_every_connection_until_it_is_over(endpoint: Endpoint):
    endpoint.control(down_for_s=600)
    with pytest.raises(NETWORK_ERRORS):
        ask(endpoint, chat())
    endpoint.control(down_for_s=0)
    assert ask(endpoint, chat())[0].status == 200


def test_the_first_attempts_of_each_body_can_fail(endpoint: Endpoint):
    endpoint.control(fail_first=2, status=502)
    for text in ("one", "two"):
        assert [ask(endpoint, chat(text))[0].status for _ in range(3)] == [502, 502, 200]


def test_a_share_strikes_by_body_attempt_and_seed_alone(endpoint: Endpoint):
    def statuses() -> list[list[int]]:
        return [[ask(endpoint, chat(str(n)))[0].status for _ in range(3)] for n in range(40)]

    endpoint.control(error_500=0.5)
    first = statuses()
    endpoint.reset()
    endpoint.control(error_500=0.5)
    assert statuses() == first
    assert 30 < sum(row.count(500) for row in first) < 90
    assert any(row[0] == 500 and 200 in row for row in first), "no retry would ever succeed"
    endpoint.reset()
    endpoint.control(error_500=0.5, seed=1)
    assert statuses() != first


def test_answers_are_counted_per_body(endpoint: Endpoint):
    for text in ("one", "two", "one"):
        ask(endpoint, chat(text))
    stats = endpoint.stats()
    assert (stats["requests"], stats["distinct_bodies"]) == (3, 2)
    assert sorted(stats["answered"].values()) == [1, 2]


def test_requests_in_flight_are_counted(endpoint: Endpoint):
    endpoint.control(hang=1.0)
    connections = [HTTPConnection(urlsplit(endpoint.base_url).netloc) for _ in range(5)]
    for connection in connections:
        headers = {"Authorization": f"Bearer {endpoint.key}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(chat()), headers)
    wait_for(lambda: endpoint.stats()["in_flight"] == 5)
    for connection in connections:
        connection.close()
    wait_for(lambda: endpoint.stats()["in_flight"] == 0)
    assert endpoint.stats()["max_in_flight"] == 5


def test_every_arrival_has_one_end_in_the_log(endpoint: Endpoint):
    logged = len(endpoint.events())
    endpoint.control(reset=0.3, truncated_body=0.3, error_429=0.3, empty_content=0.3)

    def attempt(number: int) -> None:
        with suppress(*NETWORK_ERRORS):
            ask(endpoint, chat(str(number)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(100)))
    wait_for(lambda: endpoint.stats()["in_flight"] == 0)
    events = Counter(entry["event"] for entry in endpoint.events()[logged:])
    assert events["arrived"] == 100
    assert events["answered"] + events["refused"] + events["failed"] + events["disconnected"] == 100
    assert events["answered"] == sum(endpoint.stats()["answered"].values())


def test_the_openai_client_understands_answers_and_errors(endpoint: Endpoint):
    import openai

    def client(key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=endpoint.base_url, api_key=key, max_retries=20)

    endpoint.control(error_429=0.5, error_503=0.1, retry_after_s=0.01)
    with client(endpoint.key) as known:
        replies = [known.chat.completions.create(**chat(str(n))) for n in range(10)]
    assert all(reply.choices[0].message.content for reply in replies)
    assert set(endpoint.stats()["answered"].values()) == {1}
    with client("sk-wrong") as unknown, pytest.raises(openai.AuthenticationError):
        unknown.chat.completions.create(**chat())


def test_the_log_shows_what_was_in_flight_when_a_client_was_killed(endpoint: Endpoint):
    logged = len(endpoint.events())
    ask(endpoint, chat("answered before"))
    endpoint.control(latency_s=600)
    code = (
        "import sys; from urllib.request import *;"
        "headers = {'Authorization': 'Bearer ' + sys.argv[2]};"
        "build_opener(ProxyHandler({})).open(Request(sys.argv[1], sys.stdin.buffer.read(), headers))"
    )
    url = f"{endpoint.base_url}/chat/completions"
    command = [sys.executable, "-c", code, url, endpoint.key]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert client.stdin
    client.stdin.write(json.dumps(chat("in flight")).encode())
    client.stdin.close()
    wait_for(lambda: endpoint.stats()["in_flight"] == 1)
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    wait_for(lambda: endpoint.stats()["in_flight"] == 0)
    events = [(entry["hash"], entry["event"]) for entry in endpoint.events()[logged:]]
    (first, _), _, (second, _), _ = events
    assert events == [(first, "arrived"), (first, "answered"), (second, "arrived"), (second, "disconnected")]
    assert first != second


def test_reset_forgets_counts_attempts_and_switches(endpoint: Endpoint):
    endpoint.control(error_500=1.0)
    ask(endpoint, chat())
    endpoint.reset()
    assert endpoint.stats()["requests"] == 0
    assert ask(endpoint, chat())[0].status == 200


def test_an_unknown_switch_is_refused_by_name(endpoint: Endpoint):
    with pytest.raises(HTTPError, match="no such switch: latency"):
        endpoint.control(latency=1)
    with pytest.raises(ValueError, match="no such switch: latency"):
        Endpoint(latency=1)


def test_it_also_runs_in_a_thread_and_stops(tmp_path: Path):
    with Endpoint(in_thread=True, log_path=tmp_path / "log", error_503=1.0) as endpoint:
        assert ask(endpoint, chat())[0].status == 503
    with pytest.raises(URLError):
        ask(endpoint, chat())

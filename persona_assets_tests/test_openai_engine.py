import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from persona_assets.errors import EndpointError
from persona_assets.llm.endpoint import Endpoint as Address
from persona_assets.llm.engines.base import AskError, Metered, Reachable
from persona_assets.llm.engines.chat import body_of
from persona_assets.llm.engines.openai import OpenAIEngine
from persona_assets.llm.requests import Answer, ResponseFormat
from persona_assets.settings import LlmSettings
from persona_assets_tests.driving import SCHEMA, question

KEY = "sk-test-key-abcdefghijklmnop"
GOOD = {
    "model": "tiny-0326",
    "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
}

Respond = Callable[[web.Request], web.Response]


def asked(respond: Respond, **changed: Any) -> Answer | Exception:
    """The answer, or the error, where a server answers with `respond`."""
    return asyncio.run(_asked(respond, LlmSettings(**{"model": "tiny", "timeout_s": 2.0, **changed})))


async def _asked(respond: Respond, settings: LlmSettings) -> Answer | Exception:
    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return respond(request)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine = OpenAIEngine(settings, Address(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", KEY, "OPENAI_API_KEY"))
    try:
        return await engine.ask(question(1))
    except (AskError, EndpointError) as error:
        return error
    finally:
        await engine.close()
        await runner.cleanup()


def refusing(status: int, message: str = "no", headers: dict[str, str] | None = None, **fields: str) -> Respond:
    body = {"error": {"message": message, **fields}}
    return lambda _: web.json_response(body, status=status, headers=headers)


def test_an_answer_carries_what_the_endpoint_says():
    answer = asked(lambda _: web.json_response(GOOD))
    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish_reason, answer.model) == ("hello", "stop", "tiny-0326")
    assert (answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens) == (7, 4, 2)
    assert answer.endpoint.startswith("127.0.0.1:")
    assert answer.latency_s is not None
    assert answer.answered_at.endswith("+00:00")


def test_missing_usage_is_unknown_rather_than_nothing():
    answer = asked(lambda _: web.json_response({"choices": GOOD["choices"]}))
    assert isinstance(answer, Answer)
    assert (answer.prompt_tokens, answer.completion_tokens) == (None, None)


def test_a_refusal_by_the_model_is_its_reply():
    choice = {"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}
    answer = asked(lambda _: web.json_response({"choices": [choice]}))
    assert isinstance(answer, Answer)
    assert answer.text == "I cannot"


def test_the_request_is_what_the_protocol_asks_for():
    seen: dict[str, Any] = {}

    def respond(request: web.Request) -> web.Response:
        seen.update(headers=dict(request.headers), body=json.loads(request._read_bytes or b""))
        return web.json_response(GOOD)

    asked(respond)
    assert seen["headers"]["Authorization"] == f"Bearer {KEY}"
    assert seen["headers"]["Content-Type"] == "application/json"
    assert seen["body"] == json.loads(body_of(question(1)))
    schema = {"name": "reply", "schema": SCHEMA, "strict": True}
    assert seen["body"]["response_format"] == {"type": "json_schema", "json_schema": schema}


def test_the_body_without_a_format_names_none():
    assert "response_format" not in json.loads(body_of(question(1, response_format=ResponseFormat("none"))))


@pytest.mark.parametrize(
    ("respond", "kind", "retryable"),
    [
        (refusing(429), "rate_limit", True),
        (refusing(429, "Request too large for tiny on tokens per min"), "request_too_large", False),
        (refusing(500), "http_500", True),
        (refusing(503), "http_503", True),
        (refusing(529, "Overloaded"), "http_529", True),
        (refusing(408), "http_408", True),
        (refusing(413), "http_413", False),
        (refusing(422), "http_422", False),
        (refusing(400, "Maximum context length is 10 tokens"), "context_too_long", False),
        (refusing(400, "blocked", code="content_filter"), "content_filter", False),
        (refusing(400, "something else"), "http_400", False),
        (lambda _: web.Response(text="<html>", content_type="text/html"), "malformed_response", True),
        (lambda _: web.Response(body=b"\xff\xfe{", content_type="application/json"), "malformed_response", True),
        (lambda _: web.json_response({"error": {"message": "upstream"}}), "malformed_response", True),
        (lambda _: web.json_response({"choices": []}), "malformed_response", True),
        (lambda _: web.json_response({"choices": [{"message": {"content": [1]}}]}), "malformed_response", True),
        (lambda _: web.json_response([1, 2]), "malformed_response", True),
        (lambda _: web.Response(body=b"", content_type="application/json"), "malformed_response", True),
        (
            lambda _: web.Response(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
            "malformed_response",
            True,
        ),
    ],
)
def test_what_is_no_answer_has_a_class_and_is_tried_again_only_where_that_may_help(respond, kind, retryable):
    error = asked(respond)
    assert isinstance(error, AskError)
    assert (error.kind, error.retryable) == (kind, retryable)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("respond", "advice"),
    [
        (refusing(401, f"Incorrect API key provided: {KEY}"), "check OPENAI_API_KEY"),
        (refusing(403), "check OPENAI_API_KEY"),
        (refusing(402), "no credit left"),
        (refusing(429, "You exceeded your quota", code="insufficient_quota"), "no credit left"),
        (refusing(404), "check --model"),
        (refusing(400, "Model Not Exist"), "check --model"),
        (refusing(400, "response_format is not supported"), 'set llm.structured_output to "json_object" or "none"'),
    ],
)
def test_what_no_retry_can_mend_stops_with_what_to_do(respond, advice):
    error = asked(respond)
    assert isinstance(error, EndpointError)
    assert advice in str(error)
    assert KEY not in str(error)


def test_retry_after_reaches_the_driver():
    error = asked(refusing(429, headers={"Retry-After": "12"}))
    assert isinstance(error, AskError)
    assert error.retry_after_s == 12.0


def test_an_error_that_quotes_the_key_is_redacted():
    error = asked(refusing(400, f"bad header Bearer {KEY}"))
    assert KEY not in str(error)
    assert KEY not in repr(error.args)
    error = asked(lambda _: web.Response(text=f"<html>{KEY}</html>"))
    assert KEY not in str(error)


def test_a_long_body_is_cut_off_at_the_setting():
    error = asked(lambda _: web.json_response({**GOOD, "padding": "x" * 5000}), max_reply_bytes=1000)
    assert isinstance(error, AskError)
    assert error.kind == "body_too_large"
    assert isinstance(asked(lambda _: web.json_response(GOOD), max_reply_bytes=1000), Answer)


def test_a_compressed_body_is_measured_as_it_unfolds():
    def respond(_: web.Request) -> web.Response:
        response = web.json_response({**GOOD, "padding": "x" * 1_000_000})
        response.enable_compression()
        return response

    error = asked(respond, max_reply_bytes=100_000)
    assert isinstance(error, AskError)
    assert error.kind == "body_too_large"


def test_a_port_where_nobody_listens_is_told_from_a_request_at_fault():
    async def ask() -> tuple[AskError, bool]:
        engine = OpenAIEngine(LlmSettings(model="tiny"), Address("http://127.0.0.1:9/v1", KEY, "K"))
        assert isinstance(engine, Reachable)
        assert isinstance(engine, Metered)
        try:
            await engine.ask(question(1))
        except AskError as error:
            return error, await engine.reachable()
        finally:
            await engine.close()
        raise AssertionError

    error, reachable = asyncio.run(ask())
    assert (error.kind, error.unreachable, error.charged, reachable) == ("connection", True, False, False)

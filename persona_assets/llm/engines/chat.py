"""The chat-completions protocol: the body of a request, and the answer in the body of a response."""

import json
from datetime import UTC, datetime
from typing import Any

from persona_assets.llm.engines.base import AskError
from persona_assets.llm.requests import Answer, Request

EXCERPT_CHARS = 120


def body_of(request: Request) -> bytes:
    """The JSON body that asks `request`."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
    }
    form = request.response_format
    if form.kind == "json_schema":
        json_schema = {"name": form.name, "schema": form.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    elif form.kind == "json_object":
        body["response_format"] = {"type": "json_object"}
    return json.dumps(body).encode()


def answer_of(request: Request, content: bytes, content_type: str, *, host: str, latency_s: float) -> Answer:
    """Read the answer to `request` out of the body of a response with status 200.

    Raises:
        AskError: the body is not a chat completion (class `malformed_response`).
    """
    try:
        completion = json.loads(content)
    except ValueError as error:
        what = f"the body is not JSON but {content_type or 'of no type'} ({error}): {_excerpt(content)}"
        raise AskError("malformed_response", what, retryable=True, charged=True) from None
    try:
        choice = completion["choices"][0]
        message = choice["message"]
        text = message.get("content") or message.get("refusal") or ""
        usage = completion.get("usage") or {}
        return Answer(
            key=request.key,
            text=_text(text),
            finish_reason=str(choice.get("finish_reason") or "unknown"),
            max_tokens=request.max_tokens,
            model=str(completion.get("model") or request.model),
            endpoint=host,
            prompt_tokens=_count(usage.get("prompt_tokens")),
            cached_tokens=_count((usage.get("prompt_tokens_details") or {}).get("cached_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            latency_s=round(latency_s, 4),
            answered_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
    except (LookupError, TypeError, AttributeError):
        # Some gateways answer 200 with an error inside.
        what = f"the body is not a chat completion: {_excerpt(content)}"
        raise AskError("malformed_response", what, retryable=True, charged=True) from None


def error_of(content: bytes) -> str:
    """What the body of an error response says: message and code in OpenAI's form, else as it is."""
    text = content.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except ValueError:
        return text
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict) or not error.get("message"):
        return text
    marks = [str(error[name]) for name in ("type", "code", "param") if error.get(name)]
    return f"{error['message']} ({', '.join(marks)})" if marks else str(error["message"])


def _text(content: object) -> str:
    if not isinstance(content, str):
        raise TypeError(f"content is a {type(content).__name__}")
    return content


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _excerpt(content: bytes) -> str:
    return " ".join(content[:EXCERPT_CHARS].decode("utf-8", "replace").split())

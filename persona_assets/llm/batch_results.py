"""Reading the output and error files of a batch: one JSON object a line, for one request each."""

# ruff: noqa: PLR2004 - HTTP status codes say more than names

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from persona_assets.llm.engines.base import AskError
from persona_assets.llm.engines.chat import answer_of
from persona_assets.llm.requests import Answer, Request, ResponseFormat

MESSAGE_CHARS = 300
# Ends of a request that say nothing about the request itself.
_TRANSIENT_CODES = ("batch_expired", "batch_cancelled", "server_error", "rate_limit_exceeded")


@dataclass(frozen=True)
class Result:
    """What came back for one key: an answer, or an error that says whether asking again may help."""

    key: str
    outcome: Answer | AskError


def read_results(path: Path, rooms: Mapping[str, int], *, model: str, host: str) -> Iterator[Result]:
    """Read a file of results, in the order of the file.

    Args:
        path: the downloaded file.
        rooms: `max_tokens` of the requests of the batch, by key; results for other keys are left out.
        model: the model that was asked.
        host: goes into the ledger, marked as a batch: what came that way had another price.

    Raises:
        ValueError: a line is not a JSON object with a `custom_id`.
    """
    # Not `str.splitlines`, nor the client's `iter_lines`: they also split at U+2028, which JSON allows in strings.
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                record = json.loads(line)
                if not isinstance(record, dict) or not isinstance(record.get("custom_id"), str):
                    raise ValueError("a line without custom_id")
                key = record["custom_id"]
                if key in rooms:
                    yield Result(key, _outcome(record, key, rooms[key], model=model, host=host))


def _outcome(record: Mapping[str, Any], key: str, room: int, *, model: str, host: str) -> Answer | AskError:
    response = record.get("response")
    if not isinstance(response, dict) or response.get("status_code") != 200:
        return _fault(record, response if isinstance(response, dict) else {})
    asked = Request("", "", "", model, (), ResponseFormat("none"), max_tokens=room)
    try:
        content = json.dumps(response.get("body")).encode()
        answer = answer_of(asked, content, "application/json", host=f"{host} batch", latency_s=0.0)
    except AskError as error:
        return error
    # How long the answer was under way says nothing about the model.
    return replace(answer, key=key, latency_s=None)


def _fault(record: Mapping[str, Any], response: Mapping[str, Any]) -> AskError:
    body = response.get("body")
    fault = (body.get("error") if isinstance(body, dict) else None) or record.get("error") or {}
    fault = fault if isinstance(fault, dict) else {"message": str(fault)}
    code, status = str(fault.get("code") or ""), response.get("status_code")
    said = " ".join(str(fault.get("message") or code or "no reason given").split())[:MESSAGE_CHARS]
    lowered = f"{code} {said}".lower()
    if code in _TRANSIENT_CODES:
        return AskError(code, said, retryable=True)
    if isinstance(status, int) and (status >= 500 or status in (408, 409, 425, 429)):
        return AskError("rate_limit" if status == 429 else f"http_{status}", said, retryable=True)
    if "context_length" in lowered or ("context" in lowered and "token" in lowered):
        return AskError("context_too_long", said)
    if "content_filter" in lowered or "content management policy" in lowered:
        return AskError("content_filter", said)
    return AskError(f"http_{status}" if status else code or "batch_error", said)

"""Turning a filled prompt into a request for the model of a profile."""

from collections.abc import Mapping
from typing import Any

from persona_assets.llm.requests import Message, Request, ResponseFormat
from persona_assets.settings import LlmSettings


def chat_request(
    *,
    stage: str,
    lang: str,
    origin: str,
    system: str,
    user: str,
    schema: Mapping[str, Any],
    llm: LlmSettings,
    facts: Mapping[str, Any],
    sample: int = 0,
) -> Request:
    """Build the request that asks `user` under `system`, with the sampling settings of `llm`."""
    return Request(
        stage=stage,
        lang=lang,
        origin=origin,
        model=llm.model,
        messages=(Message("system", system), Message("user", user)),
        response_format=ResponseFormat(llm.structured_output, name=stage, schema=schema),
        temperature=llm.temperature,
        top_p=llm.top_p,
        max_tokens=llm.max_tokens,
        sample=sample,
        facts=facts,
    )


def object_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of a closed object with all properties required, as strict structured output wants it."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }

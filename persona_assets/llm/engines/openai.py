"""Any OpenAI-compatible chat-completions endpoint, through the official client."""

import asyncio
import email.utils
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from persona_assets.errors import EndpointError
from persona_assets.llm.endpoint import Endpoint
from persona_assets.llm.engines.base import AskError
from persona_assets.llm.requests import Answer, Request
from persona_assets.settings import LlmSettings

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletion

MESSAGE_CHARS = 300


class OpenAIEngine:
    """Asks through `openai.AsyncOpenAI` on its aiohttp transport; retries are left to the driver."""

    asks = True

    def __init__(self, settings: LlmSettings, endpoint: Endpoint) -> None:
        import openai

        self._settings = settings
        self._endpoint = endpoint
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key,
            max_retries=0,
            timeout=settings.timeout_s,
            http_client=openai.DefaultAioHttpClient(),
        )

    async def ask(self, request: Request) -> Answer:
        """Ask once.

        Raises:
            AskError: this attempt failed.
            EndpointError: wrong key, unknown model, response format not supported, or no credit.
        """
        import openai

        started = time.monotonic()
        try:
            # The client's own timeout restarts with every byte received; a server that drips would hang it.
            async with asyncio.timeout(self._settings.timeout_s):
                completion = await self._client.chat.completions.create(**_parameters(request))
        except TimeoutError:
            raise AskError("timeout", f"no answer within {self._settings.timeout_s:g} s", retryable=True) from None
        except openai.APIError as error:
            raise self._classified(error) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise AskError("malformed_response", f"the body is not JSON: {error}", retryable=True) from None
        return self._answer(request, completion, time.monotonic() - started)

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    def _answer(self, request: Request, completion: "ChatCompletion", latency_s: float) -> Answer:
        choices = getattr(completion, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise AskError("malformed_response", "the body is not a chat completion", retryable=True)
        usage = completion.usage
        details = usage.prompt_tokens_details if usage else None
        message = choices[0].message
        return Answer(
            key=request.key,
            text=message.content or getattr(message, "refusal", None) or "",
            finish_reason=choices[0].finish_reason or "unknown",
            max_tokens=request.max_tokens,
            model=completion.model or request.model,
            endpoint=self._endpoint.host,
            prompt_tokens=usage.prompt_tokens if usage else None,
            cached_tokens=details.cached_tokens if details else None,
            completion_tokens=usage.completion_tokens if usage else None,
            latency_s=round(latency_s, 4),
            answered_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _classified(self, error: "openai.APIError") -> Exception:
        import openai

        # The aiohttp transport reports a refused connection as a timeout of connecting.
        if type(error.__cause__).__name__ == "ConnectTimeout":
            return AskError("connection", self._said(error.__cause__), retryable=True)
        # The parent of the timeout class is the connection class, so the order matters.
        if isinstance(error, openai.APITimeoutError):
            return AskError("timeout", "the connection timed out", retryable=True)
        if isinstance(error, openai.APIConnectionError):
            return AskError("connection", self._said(error.__cause__ or error), retryable=True)
        if isinstance(error, openai.APIStatusError):
            return self._by_status(error)
        return AskError("malformed_response", self._said(error), retryable=True)

    def _by_status(self, error: "openai.APIStatusError") -> Exception:
        status, said = error.status_code, self._said(error)
        host, variable = self._endpoint.host, self._endpoint.key_variable
        if status in (401, 403):
            return EndpointError(
                f"{host} refused the key (HTTP {status}): check {variable} in the environment or in .env"
            )
        if status == 402 or "insufficient_quota" in said:
            return EndpointError(f"{host} says the account has no credit left (HTTP {status}): top it up and run again")
        if status == 404:
            return EndpointError(
                f"{host} knows no model {self._settings.model!r} under {self._endpoint.base_url} (HTTP 404):"
                " check --model and the base URL"
            )
        if status == 429:
            return AskError("rate_limit", said, retryable=True, retry_after_s=retry_after(error.response.headers))
        if status >= 500 or status in (408, 409, 425):
            wait = retry_after(error.response.headers)
            return AskError(f"http_{status}", said, retryable=True, retry_after_s=wait)
        return self._bad_request(status, said)

    def _bad_request(self, status: int, said: str) -> Exception:
        lowered = said.lower()
        form = self._settings.structured_output
        if form != "none" and any(word in lowered for word in ("response_format", "json_schema", "json mode")):
            weaker = '"json_object" or "none"' if form == "json_schema" else '"none"'
            return EndpointError(
                f"the model does not support structured output {form!r}: set llm.structured_output to {weaker} ({said})"
            )
        if "context" in lowered and ("length" in lowered or "window" in lowered or "token" in lowered):
            return AskError("context_too_long", said)
        if "content_filter" in lowered or "content management policy" in lowered:
            return AskError("content_filter", said)
        return AskError(f"http_{status}", said)

    def _said(self, error: object) -> str:
        text = " ".join(self._endpoint.redact(str(error)).split())
        return text[:MESSAGE_CHARS] or type(error).__name__


def _parameters(request: Request) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
    }
    form = request.response_format
    if form.kind == "json_schema":
        json_schema = {"name": form.name, "schema": form.schema, "strict": True}
        parameters["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    elif form.kind == "json_object":
        parameters["response_format"] = {"type": "json_object"}
    return parameters


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by a `Retry-After` header, given in seconds or as an HTTP date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None

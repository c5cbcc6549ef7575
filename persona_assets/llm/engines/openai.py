"""Any OpenAI-compatible chat-completions endpoint, through the official client.

`openai.AsyncOpenAI` gives the headers, the key's place in them, and its aiohttp-based HTTP client;
requests are posted on that HTTP client directly. The client's own method for chat completions copies
and validates options, and builds a tree of models out of every response: two thirds of its CPU time
(1.35 ms of which 0.39 ms are left), for nothing that is used here. Its retries are off in any case:
they are the driver's, which sees all requests and knows when to hold back. Timeouts here are stricter
than the client's, which begin anew with every byte received.
"""

import asyncio
import time
from collections.abc import Mapping

import aiohttp
import httpx2

from persona_assets.errors import EndpointError
from persona_assets.llm.endpoint import Endpoint
from persona_assets.llm.engines.base import AskError
from persona_assets.llm.engines.chat import answer_of, body_of, error_of
from persona_assets.llm.rates import Window, retry_after, window_of
from persona_assets.llm.requests import Answer, Request
from persona_assets.settings import LlmSettings

MESSAGE_CHARS = 300
CONNECT_S = 10.0
PROBE_S = 5.0
# Error bodies are for people; more than this of one is no help.
ERROR_BODY_BYTES = 64 * 1024


class OpenAIEngine:
    """Asks an endpoint over HTTP; retries are left to the driver. Belongs to one event loop."""

    asks = True

    def __init__(self, settings: LlmSettings, endpoint: Endpoint) -> None:
        import openai

        self._settings = settings
        self._endpoint = endpoint
        # Without a number of its own, the transport would stop at 100 connections.
        limits = httpx2.Limits(max_connections=settings.concurrency + 8, keepalive_expiry=30.0)
        timeout = httpx2.Timeout(settings.timeout_s, connect=min(CONNECT_S, settings.timeout_s))
        self._http = openai.DefaultAioHttpClient(limits=limits, timeout=timeout)
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=0, http_client=self._http
        )
        given = {**self._http.headers, **self._client.default_headers, **self._client.auth_headers}
        # Every header costs time in each request; the client's statistics of platforms are not needed.
        self._headers = httpx2.Headers(
            {
                name: value
                for name, value in given.items()
                if isinstance(value, str) and not name.lower().startswith("x-stainless")
            }
        )
        self._extensions = {"timeout": timeout.as_dict()}
        self._url = httpx2.URL(f"{endpoint.base_url}/chat/completions")
        self._window: Window | None = None

    async def ask(self, request: Request) -> Answer:
        """Ask once.

        Raises:
            AskError: this attempt failed.
            EndpointError: wrong key, unknown model, response format not supported, or no credit.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                response, content = await self._post(body_of(request))
        except TimeoutError:
            said = f"no answer within {self._settings.timeout_s:g} s"
            raise AskError("timeout", said, retryable=True, charged=True) from None
        except (httpx2.HTTPError, OSError) as error:
            raise self._broken(error) from None
        except (httpx2.InvalidURL, httpx2.TooManyRedirects) as error:
            raise EndpointError(f"{self._endpoint.base_url} leads nowhere ({self._said(error)})") from None
        headers = _plain(response.headers)
        self._window = window_of(headers) or self._window
        if response.status_code != 200:
            raise self._by_status(
                response.status_code, self._said(f"HTTP {response.status_code}: {error_of(content)}"), headers
            )
        kind = headers.get("content-type", "")
        try:
            return answer_of(request, content, kind, host=self._endpoint.host, latency_s=time.monotonic() - started)
        except AskError as error:
            error.args = (self._said(error),)
            raise

    def window(self) -> Window | None:
        """What the last response said of rate limits, once."""
        window, self._window = self._window, None
        return window

    async def reachable(self) -> bool:
        """Whether anything answers at the base URL, be it with an error."""
        try:
            async with asyncio.timeout(PROBE_S):
                await self._http.get(f"{self._endpoint.base_url}/models", headers=self._headers)
        except (httpx2.HTTPError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    async def _post(self, body: bytes) -> tuple[httpx2.Response, bytes]:
        request = httpx2.Request("POST", self._url, content=body, headers=self._headers, extensions=self._extensions)
        response = await self._http.send(request, stream=True)
        most = self._settings.max_reply_bytes if response.status_code == 200 else ERROR_BODY_BYTES
        parts, size = [], 0
        try:
            async for part in response.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > most:
                    break
        except (httpx2.HTTPError, OSError) as error:
            broken = self._broken(error)
            broken.responded = True
            raise broken from None
        finally:
            await response.aclose()
        if size > most and response.status_code == 200:
            said = f"the body has more than {most} bytes (llm.max_reply_bytes)"
            raise AskError("body_too_large", said, retryable=True, charged=True)
        return response, b"".join(parts)

    def _broken(self, error: Exception) -> AskError:
        if isinstance(error, httpx2.DecodingError):
            return AskError("malformed_response", self._said(error), retryable=True, charged=True)
        # The transport calls every broken connection a timeout; its cause is more exact.
        cause = error.__cause__ or error
        if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) or isinstance(
            error, httpx2.ConnectError
        ):
            return AskError("connection", self._said(cause), retryable=True, unreachable=True)
        if isinstance(cause, TimeoutError | httpx2.ReadTimeout | httpx2.WriteTimeout | httpx2.PoolTimeout):
            return AskError("timeout", "the connection timed out", retryable=True, charged=True)
        return AskError("connection", self._said(cause), retryable=True, charged=True)

    def _by_status(self, status: int, said: str, headers: Mapping[str, str]) -> Exception:
        host, variable = self._endpoint.host, self._endpoint.key_variable
        if status in (401, 403):
            return EndpointError(
                f"{host} refused the key (HTTP {status}): check {variable} in the environment or in .env"
            )
        if status == 402 or "insufficient_quota" in said:
            return EndpointError(f"{host} says the account has no credit left (HTTP {status}): top it up and run again")
        if status == 404 or "model_not_found" in said or "model not exist" in said.lower():
            return EndpointError(
                f"{host} knows no model {self._settings.model!r} under {self._endpoint.base_url} (HTTP {status}):"
                " check --model and the base URL"
            )
        if status == 429:
            if "request too large" in said.lower():
                return AskError("request_too_large", said)
            return AskError("rate_limit", said, retryable=True, retry_after_s=retry_after(headers))
        if status >= 500 or status in (408, 409, 425):
            return AskError(f"http_{status}", said, retryable=True, retry_after_s=retry_after(headers))
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


def _plain(headers: httpx2.Headers) -> dict[str, str]:
    # Looking one up in the client's own headers decodes them all.
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers.raw}

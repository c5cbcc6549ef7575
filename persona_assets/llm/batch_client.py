"""The files and batches of an OpenAI-style API, through the official client, with patience.

Looking again is free, so everything but creating a batch is simply tried again. A batch whose creation may have
been lost on the way is first looked for by its name, since creating it twice means paying twice.
"""

# ruff: noqa: PLR2004 - HTTP status codes say more than names

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2

from persona_assets.errors import EndpointError
from persona_assets.llm.endpoint import Endpoint
from persona_assets.llm.rates import retry_after
from persona_assets.settings import LlmSettings

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

T = TypeVar("T")

MESSAGE_CHARS = 300
NAME = "persona_assets_batch"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
# An endpoint that was never reached is most likely misspelt or down: say so soon.
UNREACHED_TRIES = 3
TRANSFER_TIMEOUT_S = 1800.0
# The provider's clock and this one may differ so much.
CLOCK_SLACK_S = 3600.0


class BatchClient:
    """Belongs to one event loop; close it there."""

    def __init__(self, settings: LlmSettings, endpoint: Endpoint) -> None:
        import openai

        self.endpoint = endpoint
        self._settings = settings
        self._reached = False
        # The client's own retries would create a batch twice when the first response is lost.
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key,
            max_retries=0,
            timeout=settings.timeout_s,
            http_client=openai.DefaultAioHttpClient(),
        )

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    async def upload(self, path: Path) -> str:
        """Upload an input file; returns its identifier.

        Raises:
            EndpointError: as for every method here, the endpoint refuses the key, has no batch API, or stays away.
        """
        uploaded = await self._until_done(
            lambda: self._client.files.create(file=path, purpose="batch", timeout=TRANSFER_TIMEOUT_S)
        )
        return uploaded.id

    async def create(self, name: str, file_id: str, *, stage: str, lang: str) -> "Batch":
        """Create the batch `name` from an uploaded file, unless the provider has it already."""
        asked_at = time.time()
        metadata = {NAME: name, "stage": stage, "lang": lang}

        async def create() -> "Batch":
            return await self._client.batches.create(
                input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h", metadata=metadata
            )

        return await self._until_done(create, instead=lambda: self.find(name, since=asked_at))

    async def find(self, name: str, *, since: float) -> "Batch | None":
        """The batch of this name, created after `since` (seconds since the epoch), if the provider has it."""
        import openai

        async def look() -> "Batch | None":
            try:
                async for batch in self._client.batches.list(limit=100):
                    if (batch.metadata or {}).get(NAME) == name:
                        return batch
                    # The newest come first.
                    if batch.created_at < since - CLOCK_SLACK_S:
                        return None
            except openai.NotFoundError:
                return None
            return None

        return await self._until_done(look)

    async def retrieve(self, batch_id: str) -> "Batch | None":
        """How a batch stands; None if the provider knows no such batch."""
        import openai

        async def look() -> "Batch | None":
            try:
                return await self._client.batches.retrieve(batch_id)
            except openai.NotFoundError:
                return None

        return await self._until_done(look)

    async def download(self, file_id: str, path: Path) -> bool:
        """Download a file of results to `path`; False if the provider has deleted it."""
        import openai

        async def fetch() -> bool:
            try:
                content = self._client.files.with_streaming_response.content(file_id, timeout=TRANSFER_TIMEOUT_S)
                async with content as response:
                    await response.stream_to_file(path)
            except openai.NotFoundError:
                return False
            return True

        return await self._until_done(fetch)

    async def discard(self, file_id: str) -> None:
        """Delete an input file that has done its service; failing to is no harm."""
        import openai

        try:
            await self._client.files.delete(file_id)
        except (openai.APIError, OSError, ValueError):
            return

    async def _until_done(
        self, call: Callable[[], Awaitable[T]], *, instead: Callable[[], Awaitable[T | None]] | None = None
    ) -> T:
        """Call until it succeeds; after each failure, first see whether `instead` finds the result."""
        import openai

        since, tries, pause = time.monotonic(), 0, FIRST_PAUSE_S
        while True:
            tries += 1
            try:
                result = await call()
            # A response that is cut off shows as an error of the transport or of the JSON parser.
            except (openai.APIError, httpx2.HTTPError, OSError, ValueError) as error:
                self._raise_if_final(error)
                never = not self._reached and tries >= UNREACHED_TRIES
                if never or time.monotonic() - since > self._settings.outage_patience_s:
                    raise EndpointError(
                        f"{self.endpoint.host} cannot be reached ({self._said(error)}): check that it runs,"
                        " OPENAI_BASE_URL and llm.base_url; batches under way are kept, run again to collect them"
                    ) from None
                headers: Any = error.response.headers if isinstance(error, openai.APIStatusError) else {}
                await asyncio.sleep(max(pause, retry_after(headers) or 0.0))
                pause = min(LONGEST_PAUSE_S, 2 * pause)
            else:
                self._reached = True
                return result
            found = await instead() if instead else None
            if found is not None:
                return found

    def _raise_if_final(self, error: Exception) -> None:
        import openai

        if not isinstance(error, openai.APIStatusError):
            return
        self._reached = True
        final = self._final(error)
        if final is not None:
            raise final from None

    def _final(self, error: "openai.APIStatusError") -> EndpointError | None:
        status, said = error.status_code, self._said(error)
        host, variable = self.endpoint.host, self.endpoint.key_variable
        if status in (401, 403):
            return EndpointError(
                f"{host} refused the key (HTTP {status}): check {variable} in the environment or in .env"
            )
        if status == 402 or any(word in said for word in ("insufficient_quota", "billing_hard_limit")):
            return EndpointError(f"{host} says the account has no credit left (HTTP {status}): top it up and run again")
        if status in (404, 405, 501):
            return EndpointError(
                f"{host} has no batch API under {self.endpoint.base_url} (HTTP {status}):"
                ' set llm.engine to "openai", or correct the base URL'
            )
        if status == 413:
            return EndpointError(f"{host} finds the input file too large ({said}): lower llm.batch.max_megabytes")
        if status >= 500 or status in (408, 409, 425, 429):
            return None
        return EndpointError(f"{host} refused the batch (HTTP {status}): {said}")

    def _said(self, error: object) -> str:
        text = " ".join(self.endpoint.redact(str(error)).split())
        return text[:MESSAGE_CHARS] or type(error).__name__

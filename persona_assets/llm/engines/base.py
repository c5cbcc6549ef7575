"""What an engine is: something that can be asked one request at a time, many at once."""

from typing import Protocol

from persona_assets.llm.requests import Answer, Request


class AskError(Exception):
    """One attempt that gave no answer.

    Attributes:
        kind: the class of failure, such as `timeout` or `rate_limit`.
        retryable: whether the same request may succeed later.
        retry_after_s: how long the endpoint asked to wait, in seconds, if it did.
    """

    def __init__(self, kind: str, message: str, *, retryable: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class Engine(Protocol):
    """Asks a model. `asks` is False for an engine that only serves what the ledger holds."""

    asks: bool

    async def ask(self, request: Request) -> Answer:
        """Ask once.

        Raises:
            AskError: this attempt failed; the driver decides whether to try again.
            EndpointError: no request can succeed until the user changes something.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...

"""What an engine is: something that can be asked one request at a time, many at once."""

from typing import Protocol, runtime_checkable

from persona_assets.llm.rates import Window
from persona_assets.llm.requests import Answer, Request


class AskError(Exception):
    """One attempt that gave no answer.

    Attributes:
        kind: the class of failure, such as `timeout` or `rate_limit`; see `persona_assets.llm.failures`.
        retryable: whether the same request may succeed later.
        retry_after_s: how long the endpoint asked to wait, in seconds, if it did.
        unreachable: nobody accepted the connection, so that the request cannot be at fault.
        responded: a response had begun to arrive, so that the endpoint is there.
        charged: the endpoint may have worked on the request before the answer was lost.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after_s: float | None = None,
        unreachable: bool = False,
        responded: bool = False,
        charged: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.unreachable = unreachable
        self.responded = responded
        self.charged = charged


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


@runtime_checkable
class Reachable(Protocol):
    """An engine that can tell whether its endpoint is there at all, without asking the model."""

    async def reachable(self) -> bool:
        """Whether anything answers, be it with an error."""
        ...


@runtime_checkable
class Metered(Protocol):
    """An engine whose endpoint says how much of a rate limit is left."""

    def window(self) -> Window | None:
        """What the last response said, once: None if it said nothing new."""
        ...

"""When the next request may go out: what the endpoint bears, what it says, and what the profile allows."""

from persona_assets.llm.concurrency import Governor
from persona_assets.llm.rates import Allowance, Bucket, Window
from persona_assets.settings import LlmSettings


class Pace:
    """The governor of the requests in flight, and the rates beside it. Times are in seconds."""

    def __init__(self, settings: LlmSettings, now: float) -> None:
        self.governor = Governor(settings.concurrency, timeout_s=settings.timeout_s, now=now)
        self._request_cap = _bucket(settings.requests_per_minute, now)
        self._token_cap = _bucket(settings.tokens_per_minute, now)
        self._requests_left = Allowance()
        self._tokens_left = Allowance()
        # Until something is known, a request is taken to use all that it may.
        self._tokens_each = float(settings.max_tokens)
        self._measured = 0

    def wait_s(self, now: float) -> float:
        """Seconds until the next request may start; 0 if it may now."""
        return max(
            self.governor.wait_s(now),
            self._request_cap.wait_s(now) if self._request_cap else 0.0,
            self._token_cap.wait_s(now) if self._token_cap else 0.0,
            self.window_wait_s(now),
        )

    def window_wait_s(self, now: float) -> float:
        """Seconds until the endpoint's own limits, as far as it has told of them, allow another request."""
        return max(self._requests_left.wait_s(1.0, now), self._tokens_left.wait_s(self._tokens_each, now))

    def started(self, now: float, in_flight: int) -> float:
        """Note a start that makes it `in_flight` requests; returns the tokens it is expected to use."""
        self.governor.started(now, in_flight)
        self._requests_left.take(1.0)
        self._tokens_left.take(self._tokens_each)
        if self._request_cap:
            self._request_cap.take(1.0, now)
        if self._token_cap:
            self._token_cap.take(self._tokens_each, now)
        return self._tokens_each

    def used(self, expected: float, tokens: int, now: float) -> None:
        """Note the tokens that an ended request did use, where `expected` were taken for it."""
        if self._token_cap:
            self._token_cap.take(tokens - expected, now)
        if tokens:
            self._measured += 1
            self._tokens_each += (tokens - self._tokens_each) / min(self._measured, 100)

    def told(self, window: Window, in_flight: int, now: float) -> None:
        """Take over what a response says is left; those still in flight may not be counted in it yet."""
        left, tokens = window.requests_left, window.tokens_left
        self._requests_left.told(None if left is None else left - in_flight, window.requests_reset_s, now)
        unseen = in_flight * self._tokens_each
        self._tokens_left.told(None if tokens is None else int(tokens - unseen), window.tokens_reset_s, now)


def _bucket(per_minute: int | None, now: float) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute, now)

"""Rates: the caps a profile sets, and what an endpoint's headers say is left of its own.

Nothing here reads a clock: every `now` is given, in seconds of whatever clock the caller keeps.
"""

import email.utils
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

# A cap per minute lets this much of a second through at once, so that a slow tick does not cost rate.
BURST_S = 0.25

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
# A bare number above this is a time of day in epoch seconds, above the second one in milliseconds.
_EPOCH_S, _EPOCH_MS = 1e8, 1e11


class Bucket:
    """A token bucket: `take` may overdraw it, and `wait_s` tells when it is in credit again."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._per_s = per_minute / 60.0
        self._most = max(1.0, self._per_s * BURST_S)
        self._level = self._most
        self._at = now

    def take(self, amount: float, now: float) -> None:
        """Take `amount` out; a negative one gives back what was taken too much."""
        self._refill(now)
        self._level -= amount

    def wait_s(self, now: float) -> float:
        """Seconds until one may be taken; 0 if it may be now."""
        self._refill(now)
        return max(0.0, 1.0 - self._level) / self._per_s

    def _refill(self, now: float) -> None:
        self._level = min(self._most, self._level + (now - self._at) * self._per_s)
        self._at = now


@dataclass(frozen=True)
class Window:
    """What an endpoint's rate headers say: what is left, and the seconds until it is whole again."""

    requests_left: int | None = None
    requests_reset_s: float | None = None
    tokens_left: int | None = None
    tokens_reset_s: float | None = None


class Allowance:
    """What is left of one limit of the endpoint, as far as it has said."""

    def __init__(self) -> None:
        self._left = math.inf
        self._until = 0.0

    def told(self, left: int | None, reset_s: float | None, now: float) -> None:
        """Take over what a response said; without both numbers there is nothing to go by."""
        if left is not None and reset_s is not None:
            self._left, self._until = left, now + reset_s

    def take(self, amount: float) -> None:
        """Count `amount` as used."""
        self._left -= amount

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be used; 0 if it may be now."""
        if now >= self._until:
            self._left = math.inf
        return 0.0 if self._left >= amount else self._until - now


def window_of(headers: Mapping[str, str]) -> Window | None:
    """Read the `x-ratelimit-*` headers that OpenAI, Azure, Groq, vLLM gateways and others send."""
    requests = _whole(headers.get("x-ratelimit-remaining-requests"))
    tokens = _whole(headers.get("x-ratelimit-remaining-tokens"))
    if requests is None and tokens is None:
        return None
    return Window(
        requests,
        duration_s(headers.get("x-ratelimit-reset-requests", "")),
        tokens,
        duration_s(headers.get("x-ratelimit-reset-tokens", "")),
    )


def _whole(value: str | None) -> int | None:
    return int(value) if value and value.strip().isdecimal() else None


def duration_s(value: str) -> float | None:
    """Seconds in a reset header: `6m0s`, `120ms`, `1.5`, an epoch time, or an ISO 8601 time."""
    text = value.strip()
    if not text:
        return None
    match = _DURATION.fullmatch(text)
    if match:
        return sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS_S, strict=True) if part)
    try:
        number = float(text)
    except ValueError:
        return _until_time(text)
    if not math.isfinite(number):
        return None
    if number > _EPOCH_S:
        return max(0.0, number / (1000.0 if number > _EPOCH_MS else 1.0) - time.time())
    return max(0.0, number)


def _until_time(text: str) -> float | None:
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - time.time())
    except ValueError:
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by a `Retry-After` header, given in seconds or as an HTTP date (RFC 9110, 10.2.3).

    `retry-after-ms`, which OpenAI and Azure send as well, is more exact and wins.
    """
    exact = headers.get("retry-after-ms", "").strip()
    if exact.isdecimal():
        return int(exact) / 1000.0
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until_date(value)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until_date(value: str) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None

"""Figures that are not known: a low, an expected and a high value of each."""

import math
from dataclasses import dataclass
from typing import Literal, Self

Level = Literal["low", "expected", "high"]
LEVELS: tuple[Level, ...] = ("low", "expected", "high")
OPPOSITE: dict[Level, Level] = {"low": "high", "expected": "expected", "high": "low"}


@dataclass(frozen=True)
class Range:
    """A figure between `low` and `high`, most likely near `expected`."""

    low: float
    expected: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Self:
        """A figure that is known."""
        return cls(value, value, value)

    @classmethod
    def around(cls, expected: float, low: float, high: float) -> Self:
        """A figure with its bounds given as factors."""
        return cls(expected * low, expected, expected * high)

    @property
    def known(self) -> bool:
        """Whether low and high are the same."""
        return self.low == self.high

    def at(self, level: Level) -> float:
        """The value at a level."""
        return float(getattr(self, level))

    def times(self, factor: float) -> "Range":
        """All three values times a factor."""
        return Range(self.low * factor, self.expected * factor, self.high * factor)

    def at_most(self, limit: float) -> "Range":
        """All three values, none above the limit."""
        return Range(min(self.low, limit), min(self.expected, limit), min(self.high, limit))

    def whole(self) -> "Range":
        """As a count: rounded outwards, the expected value to the nearest."""
        return Range(math.floor(self.low + 1e-9), round(self.expected), math.ceil(self.high - 1e-9))

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)


def mean_of(mean: float, deviation: float, count: int) -> Range:
    """The mean of what will come, from that of `count` values seen, with their standard deviation.

    Two standard errors, with a variation of at least 0.3 assumed of few values, and 5 % because what comes
    is not drawn from what was seen.
    """
    variation = max(0.3, deviation / mean) if mean > 0 else 0.3
    error = 0.05 + 2 * variation / math.sqrt(count)
    return Range.around(mean, 1 / (1 + error), 1 + error)


def share_of(part: float, whole: float, *, most_trusted: int = 400) -> Range:
    """A share of what will come, from that of what was seen: the Wilson interval at 95 % (Wilson, 1927).

    More than `most_trusted` cases count as so many: what comes is not drawn from what was seen.
    """
    share, n, z = part / whole, min(whole, most_trusted), 1.96
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Range(max(0.0, min(centre - half, share)), share, min(1.0, max(centre + half, share)))


def narrowed(seen: Range, assumed: Range) -> Range:
    """What was seen, no wider than what was assumed of it where the two agree."""
    if not assumed.low <= seen.expected <= assumed.high:
        return seen
    return Range(max(seen.low, assumed.low), seen.expected, min(seen.high, assumed.high))

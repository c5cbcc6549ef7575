"""What a run spends: prices, budgets, and the promise never to go past them.

Before a request is sent, what it may cost at most is set aside; when it ends, what it did cost is
counted instead. So the sum of what is spent and set aside never exceeds a limit, however many are in
flight. Attempts that were lost on the way (timeouts, broken connections) may have been worked on, so
they are counted at their most.
"""

import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Self

from persona_assets.errors import BudgetReachedError
from persona_assets.llm.prices import cost_of
from persona_assets.llm.requests import Answer, Request
from persona_assets.settings import BudgetSettings, PriceSettings

# Role marks and the like that a chat template puts around messages, generously.
_TEMPLATE_TOKENS, _MESSAGE_TOKENS = 64, 16


@dataclass(frozen=True)
class Charge:
    """Requests sent, tokens of prompts and answers, and their cost in the currency of the prices."""

    requests: int = 0
    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Self) -> "Charge":
        return Charge(self.requests + other.requests, self.tokens + other.tokens, self.cost + other.cost)

    def __sub__(self, other: Self) -> "Charge":
        return Charge(self.requests - other.requests, self.tokens - other.tokens, self.cost - other.cost)


NOTHING = Charge()


class Spending:
    """What one run has spent and set aside, in all and by language; shared by its stages and threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent: defaultdict[str, Charge] = defaultdict(Charge)
        self._aside: defaultdict[str, Charge] = defaultdict(Charge)

    def spent(self, lang: str | None = None) -> Charge:
        """What has been spent on one language (ISO 639-1), or on all."""
        with self._lock:
            return _sum(self._spent, lang)

    def set_aside(self, lang: str, most: Charge, budget: BudgetSettings) -> "Obstacle | None":
        """Set `most` aside for a request of `lang`, unless it might go past a limit; then say which."""
        with self._lock:
            obstacle = self._obstacle(lang, most, budget)
            if obstacle is None:
                self._aside[lang] += most
            return obstacle

    def settle(self, lang: str, most: Charge, actual: Charge) -> None:
        """Count `actual` in place of the `most` that was set aside."""
        with self._lock:
            self._aside[lang] -= most
            self._spent[lang] += actual

    def _obstacle(self, lang: str, most: Charge, budget: BudgetSettings) -> "Obstacle | None":
        for scope in (None, lang):
            spent, aside = _sum(self._spent, scope), _sum(self._aside, scope)
            wanted = spent + aside + most
            for name in ("cost", "tokens", "requests"):
                knob = f"max_{name}" if scope is None else f"language_max_{name}"
                limit = getattr(budget, knob)
                # Sums of prices are only exact to a rounding error, which must not stop a run.
                if limit is not None and getattr(wanted, name) > limit * (1 + 1e-12):
                    return Obstacle(
                        knob, limit, getattr(spent, name), getattr(most, name), scope, pending=aside.requests > 0
                    )
        return None


@dataclass(frozen=True)
class Obstacle:
    """The limit that a request might go past; it may yet fit when those that are `pending` have ended."""

    knob: str
    limit: float
    spent: float
    most: float
    lang: str | None
    pending: bool

    def error(self) -> BudgetReachedError:
        """The failure to stop with."""
        whose = "the run's budget" if self.lang is None else f"the budget of {self.lang}"
        return BudgetReachedError(
            f"{whose} is reached: {_amount(self.spent)} of {_amount(self.limit)} (budget.{self.knob}) is spent, and the"
            f" next request might take {_amount(self.most)}; all answers are kept: run again to go on with a fresh"
            " budget, or raise it",
            whole_run=self.lang is None,
        )


@dataclass
class Purse:
    """The budget and the prices of a profile, over the spending of a run."""

    budget: BudgetSettings = field(default_factory=BudgetSettings)
    prices: PriceSettings | None = None
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        self._limited = any(value is not None for value in self.budget.model_dump().values())

    def reserve(self, request: Request) -> "Charge | Obstacle":
        """Set aside what `request` may cost at most; an Obstacle where the budget does not allow it."""
        if not self._limited:
            return NOTHING
        most = self.at_most(request)
        return self.spending.set_aside(request.lang, most, self.budget) or most

    def at_most(self, request: Request) -> Charge:
        """What one attempt at `request` may cost at most."""
        prompt = most_prompt_tokens(request)
        return Charge(1, prompt + request.max_tokens, self._cost(prompt, 0, request.max_tokens))

    def settle_answer(self, request: Request, reserved: Charge, answer: Answer) -> Charge:
        """Count what an answer cost: the endpoint's own token counts, or the most where it gives none."""
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            actual = self.at_most(request)
        else:
            prompt, completion = answer.prompt_tokens, answer.completion_tokens
            actual = Charge(1, prompt + completion, self._cost(prompt, answer.cached_tokens or 0, completion))
        self.spending.settle(request.lang, reserved, actual)
        return actual

    def settle_failure(self, request: Request, reserved: Charge, *, charged: bool) -> Charge:
        """Count an attempt without an answer; `charged` if the endpoint may have worked on it."""
        actual = self.at_most(request) if charged else Charge(1)
        self.spending.settle(request.lang, reserved, actual)
        return actual

    def _cost(self, prompt: int, cached: int, completion: int) -> float:
        if self.prices is None:
            return 0.0
        return cost_of(self.prices, prompt=prompt, cached=min(cached, prompt), completion=completion)


def most_prompt_tokens(request: Request) -> int:
    """The tokens a prompt may have at most: no tokenizer in use makes more than one of a UTF-8 byte."""
    count = _TEMPLATE_TOKENS
    for message in request.messages:
        count += len(message.content.encode("utf-8", "surrogatepass")) + _MESSAGE_TOKENS
    if request.response_format.kind == "json_schema":
        count += len(json.dumps(request.response_format.schema))
    return count


def _sum(charges: dict[str, Charge], lang: str | None) -> Charge:
    if lang is not None:
        return charges.get(lang, NOTHING)
    return sum(charges.values(), NOTHING)


def _amount(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


class _Run:
    spending = Spending()


def run_spending() -> Spending:
    """The spending of the run of this process."""
    return _Run.spending


def begin_run() -> Spending:
    """Start a run from zero, in a process that has several."""
    _Run.spending = Spending()
    return _Run.spending

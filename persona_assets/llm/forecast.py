"""What a run will ask, use, cost and take, from what is known or assumed of each language. Pure arithmetic.

A run is a chain: documents, replies, personas, hops, kept personas, conversations. It is computed once for each
combination of three levels of yields with three levels of sizes; every figure is monotone in both, so that its
least and greatest value over the nine are its range.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from typing import Any

from persona_assets.llm.prices import cost_of
from persona_assets.ranges import LEVELS, OPPOSITE, Level, Range
from persona_assets.settings import LlmSettings, PriceSettings

ASKED_AGAIN = "asked_again"
# A provider promises a batch within a day; most come back earlier.
BATCH_HOURS = Range(0.3, 4.0, 24.0)


@dataclass(frozen=True)
class StageInput:
    """What is assumed of one request of a stage.

    Tokens are means per request, `cached_share` is that of the prompt tokens, `latency_s` is in seconds,
    `in_flight` is how many are answered at once, `answered` the share that the ledger holds already, of at
    most `stored` answers.
    """

    prompt_tokens: Range
    completion_tokens: Range
    latency_s: Range
    in_flight: Range
    cached_share: float = 0.0
    answered: Range = field(default_factory=lambda: Range.exactly(0.0))
    stored: float = math.inf


@dataclass(frozen=True)
class LanguageInput:
    """What is assumed of one language.

    `reply_yield` and `related_yield` are personas per reply of the two persona stages, `parent_share` the
    share of personas that may be asked about, `keep` the share of all personas that filters and
    deduplication leave, `conversation_yield` the share of conversations kept, `reask` the share of
    requests that are asked once more.
    """

    lang: str
    documents: Range
    requests_per_document: int
    reply_yield: Range
    text: StageInput
    hops: int
    related: StageInput
    related_yield: Range
    parent_share: Range
    parents_per_hop: int | None
    requests_per_parent: int
    keep: Range
    conversation: StageInput
    conversations_per_persona: int
    conversation_yield: Range
    reask: Range


@dataclass(frozen=True)
class Amounts:
    """Requests of the run, and of those that are still to be asked: number, tokens, cost, hours.

    What begins with `whole` is of all requests, as if none had been answered before.
    """

    requests: float = 0.0
    asked: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    cost: float = 0.0
    hours: float = 0.0
    whole_prompt: float = 0.0
    whole_completion: float = 0.0
    whole_cost: float = 0.0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True)
class Forecast:
    """Ranges of `Amounts`, for one stage or many; `cost` is None without prices."""

    requests: Range
    asked: Range
    prompt_tokens: Range
    completion_tokens: Range
    cost: Range | None
    hours: Range


@dataclass(frozen=True)
class UnitForecast:
    """What one kept persona or conversation takes in all: tokens of prompts and answers, and cost."""

    tokens: Range
    cost: Range | None


@dataclass(frozen=True)
class LanguageForecast:
    """One language, or all: stages, their sum, and what is kept at the end."""

    lang: str
    stages: dict[str, Forecast]
    total: Forecast
    kept_personas: Range
    conversations: Range
    per_kept_persona: UnitForecast | None
    per_conversation: UnitForecast | None


@dataclass(frozen=True)
class RunForecast:
    """The forecast of a run, and in words what it rests on."""

    languages: tuple[LanguageForecast, ...]
    total: LanguageForecast
    grounds: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self)


@dataclass(frozen=True)
class _Course:
    """One course that a run may take."""

    stages: dict[str, Amounts]
    kept: float
    conversations: float

    def sum(self, *, personas_only: bool = False) -> Amounts:
        chosen = (each for stage, each in self.stages.items() if not (personas_only and stage == "conversation"))
        return sum(chosen, Amounts())

    def __add__(self, other: "_Course") -> "_Course":
        stages = {
            stage: self.stages.get(stage, Amounts()) + other.stages.get(stage, Amounts())
            for stage in {**self.stages, **other.stages}
        }
        return _Course(stages, self.kept + other.kept, self.conversations + other.conversations)


_Courses = dict[tuple[Level, Level], _Course]


def forecast_run(
    inputs: Sequence[LanguageInput], llm: LlmSettings, prices: PriceSettings | None, grounds: Sequence[str] = ()
) -> RunForecast:
    """Forecast a run over the languages, one after the other.

    Args:
        inputs: one for each language, at least one.
        llm: the engine, and the caps on requests and tokens per minute.
        prices: per million tokens, batches allowed for; None leaves the cost out.
        grounds: what the inputs rest on, in words.
    """
    pairs: list[tuple[Level, Level]] = list(product(LEVELS, LEVELS))
    by_language = [
        {pair: _course(each, yields=pair[0], sizes=pair[1], llm=llm, prices=prices) for pair in pairs}
        for each in inputs
    ]
    together = {pair: sum((courses[pair] for courses in by_language), _Course({}, 0, 0)) for pair in pairs}
    languages = (_language(each.lang, courses, prices) for each, courses in zip(inputs, by_language, strict=True))
    return RunForecast(tuple(languages), _language("all", together, prices), tuple(grounds))


def _course(
    given: LanguageInput, *, yields: Level, sizes: Level, llm: LlmSettings, prices: PriceSettings | None
) -> _Course:
    stages: dict[str, Amounts] = {}

    def ask(name: str, stage: StageInput, requests: float) -> None:
        stages[name] = _amounts(stage, requests, sizes, llm, prices)

    requests = given.documents.at(yields) * given.requests_per_document
    ask("text_to_persona", given.text, requests)
    found = requests * given.reply_yield.at(yields)
    raw = found
    for hop in range(1, given.hops + 1):
        parents = found * given.parent_share.at(yields)
        if given.parents_per_hop is not None:
            parents = min(parents, given.parents_per_hop)
        ask(f"persona_to_persona {hop}", given.related, parents * given.requests_per_parent)
        found = parents * given.requests_per_parent * given.related_yield.at(yields)
        raw += found
    kept = raw * given.keep.at(yields)
    ask("conversation", given.conversation, kept * given.conversations_per_persona)
    stages[ASKED_AGAIN] = _asked_again(stages, given.reask.at(sizes), prices)
    conversations = kept * given.conversations_per_persona * given.conversation_yield.at(yields)
    return _Course(stages, kept, conversations)


def _amounts(
    stage: StageInput, requests: float, sizes: Level, llm: LlmSettings, prices: PriceSettings | None
) -> Amounts:
    asked = max(requests * (1 - stage.answered.at(OPPOSITE[sizes])), requests - stage.stored)
    prompt, completion = stage.prompt_tokens.at(sizes), stage.completion_tokens.at(sizes)
    cost = cost_of(prices, prompt=prompt, cached=prompt * stage.cached_share, completion=completion) if prices else 0.0
    return Amounts(
        requests=requests,
        asked=asked,
        prompt_tokens=asked * prompt,
        completion_tokens=asked * completion,
        cost=asked * cost,
        hours=_hours(stage, asked, asked * (prompt + completion), sizes, llm),
        whole_prompt=requests * prompt,
        whole_completion=requests * completion,
        whole_cost=requests * cost,
    )


def _hours(stage: StageInput, asked: float, tokens: float, sizes: Level, llm: LlmSettings) -> float:
    if asked <= 0:
        return 0.0
    if llm.engine == "openai_batch":
        return BATCH_HOURS.at(sizes)
    seconds = stage.latency_s.at(sizes) * max(1.0, asked / stage.in_flight.at(OPPOSITE[sizes]))
    caps = (
        (asked, llm.requests_per_minute),
        (tokens, llm.tokens_per_minute),
    )
    minutes = max([seconds / 60, *(amount / cap for amount, cap in caps if cap)])
    return minutes / 60


def _asked_again(stages: dict[str, Amounts], share: float, prices: PriceSettings | None) -> Amounts:
    """The requests whose reply could not be read: asked once more, with that reply in the prompt."""
    first = sum(stages.values(), Amounts())
    prompt, completion = share * (first.prompt_tokens + first.completion_tokens), share * first.completion_tokens
    whole_prompt, whole_completion = (
        share * (first.whole_prompt + first.whole_completion),
        share * first.whole_completion,
    )
    return Amounts(
        requests=share * first.requests,
        asked=share * first.asked,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=cost_of(prices, prompt=prompt, cached=0, completion=completion) if prices else 0.0,
        hours=share * first.hours,
        whole_prompt=whole_prompt,
        whole_completion=whole_completion,
        whole_cost=cost_of(prices, prompt=whole_prompt, cached=0, completion=whole_completion) if prices else 0.0,
    )


def _language(lang: str, courses: _Courses, prices: PriceSettings | None) -> LanguageForecast:
    def over(value: Callable[[_Course], float]) -> Range:
        values = [value(course) for course in courses.values()]
        return Range(min(values), value(courses["expected", "expected"]), max(values))

    def forecast(amounts: Callable[[_Course], Amounts]) -> Forecast:
        return Forecast(
            requests=over(lambda course: amounts(course).requests).whole(),
            asked=over(lambda course: amounts(course).asked).whole(),
            prompt_tokens=over(lambda course: amounts(course).prompt_tokens).whole(),
            completion_tokens=over(lambda course: amounts(course).completion_tokens).whole(),
            cost=over(lambda course: amounts(course).cost) if prices else None,
            hours=over(lambda course: amounts(course).hours),
        )

    def per_unit(amounts: Callable[[_Course], Amounts], units: Callable[[_Course], float]) -> UnitForecast | None:
        if any(units(course) <= 0 for course in courses.values()):
            return None

        def tokens(course: _Course) -> float:
            return (amounts(course).whole_prompt + amounts(course).whole_completion) / units(course)

        cost = over(lambda course: amounts(course).whole_cost / units(course)) if prices else None
        return UnitForecast(over(tokens), cost)

    stages = courses["expected", "expected"].stages
    return LanguageForecast(
        lang=lang,
        stages={name: forecast(lambda course, name=name: course.stages[name]) for name in stages},  # type: ignore[misc]
        total=forecast(_Course.sum),
        kept_personas=over(lambda course: course.kept).whole(),
        conversations=over(lambda course: course.conversations).whole(),
        per_kept_persona=per_unit(lambda course: course.sum(personas_only=True), lambda course: course.kept),
        per_conversation=per_unit(_Course.sum, lambda course: course.conversations),
    )

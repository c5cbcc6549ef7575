"""Asks a little of what a run will ask, so that a forecast rests on the model rather than on assumptions.

What is asked are requests of the run itself, through its ledger: the first documents, then some of the personas
found. The run finds the answers there; only a conversation with a persona that turns out to be a duplicate is of no
further use.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from persona_assets.errors import BudgetReachedError
from persona_assets.filters.language_id import LanguageIdentifier
from persona_assets.filters.personas import judge_personas
from persona_assets.generation.conversations import conversation_requests
from persona_assets.generation.harvest import generate_personas, unrepeated
from persona_assets.generation.packs import PromptPack
from persona_assets.generation.personas import PERSONA_TO_PERSONA, Parent, document_requests, related_requests
from persona_assets.languages import Language
from persona_assets.llm.model import LanguageModel
from persona_assets.llm.requests import Request
from persona_assets.llm.spending import NOTHING, Charge, Purse
from persona_assets.settings import BudgetSettings, Profile

# No tokenizer makes more tokens of a character than it has bytes.
_LARGEST_CHARACTER = "\U0001f600"


@dataclass(frozen=True)
class Sample:
    """The first documents of one language (columns `doc_id`, `text`), and what asking about them takes at most."""

    language: Language
    pack: PromptPack
    documents: pl.DataFrame
    most: Charge


def plan_sample(
    documents: pl.DataFrame, count: int, *, pack: PromptPack, language: Language, profile: Profile, prices_purse: Purse
) -> Sample:
    """Choose the first `count` documents, and compute the most that asking about them may take, priced by the purse."""
    chosen = documents.head(count).select("doc_id", "text")
    largest = [_largest_persona(profile)] * chosen.height
    requests: list[Request] = [
        *document_requests(chosen.to_dicts(), pack, profile.personas, profile.llm),
        *_about(largest, pack, profile),
    ]
    return Sample(language, pack, chosen, sum(map(prices_purse.at_most, requests), NOTHING))


def ask_sample(sample: Sample, profile: Profile, model: LanguageModel, identifier: LanguageIdentifier) -> str | None:
    """Ask about the documents of a sample and about as many of the personas found.

    Returns:
        Why it ended early, or None.

    Raises:
        EndpointError: no request can succeed until the user changes something.
        LedgerError: another process uses a ledger.
    """
    alone = profile.model_copy(update={"expansion": profile.expansion.model_copy(update={"hops": 0})})
    try:
        harvest = generate_personas(
            sample.documents,
            pack=sample.pack,
            language=sample.language,
            identifier=identifier,
            profile=alone,
            ask=model.ask,
        )
        fit = judge_personas(harvest.personas, sample.language, identifier, profile.filters).kept
        for stage, requests in _by_stage(_about(fit.head(sample.documents.height).to_dicts(), sample.pack, profile)):
            model.ask(stage, sample.language.code, requests)
    except BudgetReachedError as error:
        return str(error)
    return None


def sampling_settings(profile: Profile) -> Profile:
    """The profile with which a sample is asked: nothing is asked again, and failures end nothing."""
    return profile.model_copy(update={"llm": profile.llm.model_copy(update={"reask": False, "max_failed_share": 1.0})})


def sampling_budget(most: Charge, own: BudgetSettings, *, priced: bool) -> BudgetSettings:
    """The budget that keeps a sample within `most`, and within the profile's own limits for a run."""
    limits: dict[str, Any] = {"max_requests": most.requests, "max_tokens": most.tokens}
    if priced and most.cost > 0:
        limits["max_cost"] = most.cost
    for name, value in own.model_dump().items():
        if value is not None:
            limits[name] = min(value, limits.get(name, value))
    return BudgetSettings(**limits)


def _about(personas: Sequence[dict[str, Any]], pack: PromptPack, profile: Profile) -> list[Request]:
    """A conversation with each persona, and a request for somebody near it where a run would expand them all."""
    parents = [Parent(row["persona_id"], row["root_persona_id"], row["doc_id"], row["persona"], 0) for row in personas]
    once = profile.conversations.model_copy(update={"per_persona": 1})
    asked: Iterable[Request] = conversation_requests(personas, pack, once, profile.llm)
    if profile.expansion.hops and profile.expansion.parents_per_hop is None:
        single = profile.expansion.model_copy(update={"requests_per_parent": 1})
        asked = [*related_requests(parents, pack, single, profile.llm), *asked]
    return list(unrepeated(asked, set()))


def _by_stage(requests: Sequence[Request]) -> list[tuple[str, list[Request]]]:
    stages = sorted({request.stage for request in requests}, key=lambda stage: stage != PERSONA_TO_PERSONA)
    return [(stage, [request for request in requests if request.stage == stage]) for stage in stages]


def _largest_persona(profile: Profile) -> dict[str, Any]:
    text = _LARGEST_CHARACTER * profile.filters.max_chars
    return {"persona_id": "", "root_persona_id": "", "doc_id": "", "persona": text}

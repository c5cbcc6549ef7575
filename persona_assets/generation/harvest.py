"""From requests to rows: the personas in the replies, and a verdict for every reply that gave none."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from persona_assets.filters.language_id import LanguageIdentifier
from persona_assets.generation.packs import PromptPack
from persona_assets.generation.parsing import ReplyFault, excerpt
from persona_assets.generation.personas import (
    PERSONA_TO_PERSONA,
    TEXT_TO_PERSONA,
    Parent,
    PersonaReply,
    choose_parents,
    document_requests,
    read_personas,
    related_requests,
)
from persona_assets.generation.reasking import Ask, Exchange, ask_twice
from persona_assets.identity import digest
from persona_assets.languages import Language
from persona_assets.llm.requests import Answer, Failure, Outcome, Request
from persona_assets.settings import Profile

Row = dict[str, Any]

RAW_SCHEMA = {
    "lang": pl.String,
    "persona_id": pl.String,
    "persona": pl.String,
    "method": pl.String,
    "relation": pl.String,
    "relation_label": pl.String,
    "detail": pl.String,
    "hop": pl.Int32,
    "parent_persona_id": pl.String,
    "root_persona_id": pl.String,
    "doc_id": pl.String,
    "answer_key": pl.String,
    "prompt_version": pl.String,
}
REJECTED_REPLY_SCHEMA = {
    "lang": pl.String,
    "answer_key": pl.String,
    "stage": pl.String,
    "origin": pl.String,
    "doc_id": pl.String,
    "parent_persona_id": pl.String,
    "reason": pl.String,
    "evidence": pl.String,
    "excerpt": pl.String,
    "prompt_version": pl.String,
}
ANSWER_SCHEMA = {
    "lang": pl.String,
    "stage": pl.String,
    "origin": pl.String,
    "answer_key": pl.String,
    "text": pl.String,
    "finish_reason": pl.String,
    "model": pl.String,
    "endpoint": pl.String,
    "prompt_tokens": pl.Int64,
    "cached_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "latency_s": pl.Float64,
    "attempts": pl.Int64,
    "answered_at": pl.String,
}


@dataclass(frozen=True)
class PersonaHarvest:
    """Every request, once: its personas in `personas`, or the reason it gave none in `rejected`.

    `answers` holds the replies themselves; a request that failed has none.
    """

    personas: pl.DataFrame
    rejected: pl.DataFrame
    answers: pl.DataFrame
    requests: int


def generate_personas(
    documents: pl.DataFrame,
    *,
    pack: PromptPack,
    language: Language,
    identifier: LanguageIdentifier,
    profile: Profile,
    ask: Ask,
) -> PersonaHarvest:
    """Ask for personas of documents (`doc_id`, `text`), then hop by hop for the people around them.

    The parents of a hop are personas of the last one that are in their language; the knob for that is
    the expansion's own, so that a changed filter threshold does not change what is asked.
    """
    book = _Book(language.code, pack.version)

    def settle(stage: str, asked: Iterable[Request]) -> Iterator[Exchange]:
        requests = list(unrepeated(asked, seen))
        return ask_twice(ask, stage, language.code, requests, fault_of=_persona_fault, enabled=profile.llm.reasks)

    seen: set[str] = set()
    asked = document_requests(documents.select("doc_id", "text").to_dicts(), pack, profile.personas, profile.llm)
    found = book.enter(settle(TEXT_TO_PERSONA, asked))
    for _ in range(profile.expansion.hops):
        fit = _in_language(found, language, identifier, profile.expansion.parent_min_language_score)
        parents = choose_parents(fit, profile.expansion)
        if not parents:
            break
        asked = related_requests(parents, pack, profile.expansion, profile.llm)
        found = book.enter(settle(PERSONA_TO_PERSONA, asked))
    return book.close()


def unrepeated(requests: Iterable[Request], seen: set[str]) -> Iterator[Request]:
    """Give requests that read the same distinct sample numbers, so that each gets an answer of its own."""
    for request in requests:
        candidate = request
        while candidate.key in seen:
            candidate = replace(candidate, sample=candidate.sample + 1)
        seen.add(candidate.key)
        yield candidate


def answer_row(request: Request, answer: Answer) -> Row:
    """The row of `persona_answers` or `conversation_answers` for an answer."""
    values = {name: getattr(answer, name) for name in ANSWER_SCHEMA if hasattr(answer, name)}
    return {
        **values,
        "lang": request.lang,
        "stage": request.stage,
        "origin": request.origin,
        "answer_key": answer.key,
    }


def reply_fault(outcome: Outcome) -> ReplyFault | None:
    """What makes an outcome useless before it is even read, if anything."""
    if isinstance(outcome, Failure):
        return ReplyFault("request_failed", f"{outcome.kind} after {outcome.attempts} attempts: {outcome.message}")
    if outcome.finish_reason == "content_filter":
        return ReplyFault("content_filter", "")
    return None


def named_fault(outcome: Outcome, fault: ReplyFault) -> ReplyFault:
    """Name truncation as the cause where the token limit cut off a reply that cannot be read."""
    if isinstance(outcome, Answer) and outcome.truncated:
        return ReplyFault("truncated", f"cut off at {outcome.max_tokens} tokens: {fault.evidence}")
    return fault


def _read(outcome: Outcome) -> list[PersonaReply] | ReplyFault:
    return reply_fault(outcome) or read_personas(outcome.text if isinstance(outcome, Answer) else "")


def _persona_fault(outcome: Outcome) -> ReplyFault | None:
    read = _read(outcome)
    return read if isinstance(read, ReplyFault) else None


class _Book:
    """Collects the rows of one language, hop after hop."""

    def __init__(self, lang: str, prompt_version: str) -> None:
        self._lang = lang
        self._version = prompt_version
        self._personas: list[Row] = []
        self._rejected: list[Row] = []
        self._answers: list[Row] = []
        self._requests = 0

    def enter(self, exchanges: Iterable[Exchange]) -> list[Row]:
        """Enter replies; returns the personas found in them."""
        found: list[Row] = []
        for exchange in exchanges:
            request, outcome = exchange.request, exchange.outcome
            self._requests += 1
            self._answers += [answer_row(asked, answer) for asked, answer in exchange.answers]
            replies = _read(outcome)
            if isinstance(replies, ReplyFault):
                fault = exchange.explain(named_fault(outcome, replies))
                self._rejected.append(self._rejection(request, outcome, fault))
                continue
            for position, reply in enumerate(replies):
                persona_id = f"{self._lang}-p-{digest(request.key, position)}"
                row = {
                    **request.facts,
                    "lang": self._lang,
                    "persona_id": persona_id,
                    "persona": reply.persona,
                    "relation_label": reply.relation_label,
                    "answer_key": request.key,
                    "prompt_version": self._version,
                }
                row["root_persona_id"] = row["root_persona_id"] or persona_id
                found.append(row)
        self._personas += found
        return found

    def close(self) -> PersonaHarvest:
        return PersonaHarvest(
            personas=pl.DataFrame(self._personas, schema=RAW_SCHEMA),
            rejected=pl.DataFrame(self._rejected, schema=REJECTED_REPLY_SCHEMA),
            answers=pl.DataFrame(self._answers, schema=ANSWER_SCHEMA),
            requests=self._requests,
        )

    def _rejection(self, request: Request, outcome: Outcome, fault: ReplyFault) -> Row:
        return {
            "lang": self._lang,
            "answer_key": request.key,
            "stage": request.stage,
            "origin": request.origin,
            "doc_id": request.facts["doc_id"],
            "parent_persona_id": request.facts["parent_persona_id"],
            "reason": fault.reason,
            "evidence": fault.evidence,
            "excerpt": excerpt(outcome.text) if isinstance(outcome, Answer) else None,
            "prompt_version": self._version,
        }


def _in_language(
    rows: Sequence[Row], language: Language, identifier: LanguageIdentifier, min_score: float
) -> list[Parent]:
    detected = identifier.identify([row["persona"] for row in rows])
    labels = identifier.labels_of(language)
    return [
        Parent(row["persona_id"], row["root_persona_id"], row["doc_id"], row["persona"], row["hop"])
        for row, found in zip(rows, detected, strict=True)
        if found.is_one_of(labels, min_score)
    ]

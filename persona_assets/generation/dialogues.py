"""From kept personas to conversations, and a verdict for every one that was refused."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from persona_assets.filters.conversations import judge_format, judge_turn_languages
from persona_assets.filters.language_id import LanguageIdentifier
from persona_assets.filters.personas import Rejection
from persona_assets.generation.conversations import (
    CONVERSATION,
    Dialogue,
    conversation_requests,
    read_dialogue,
)
from persona_assets.generation.harvest import (
    ANSWER_SCHEMA,
    answer_row,
    named_fault,
    reply_fault,
    unrepeated,
)
from persona_assets.generation.packs import PromptPack
from persona_assets.generation.parsing import ReplyFault, excerpt
from persona_assets.generation.reasking import Ask, Exchange, ask_twice
from persona_assets.languages import Language
from persona_assets.llm.requests import Answer, Outcome
from persona_assets.settings import Profile

CONVERSATION_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "lang": pl.String,
    "id": pl.String,
    "persona_id": pl.String,
    "persona": pl.String,
    "parent_persona_id": pl.String,
    "prompt": pl.String,
    "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
    "type": pl.String,
    "theme": pl.String,
    "source_text": pl.String,
    "doc_id": pl.String,
    "answer_key": pl.String,
    "prompt_version": pl.String,
}
REJECTED_CONVERSATION_SCHEMA = {
    "lang": pl.String,
    "id": pl.String,
    "persona_id": pl.String,
    "answer_key": pl.String,
    "type": pl.String,
    "reason": pl.String,
    "score": pl.Float64,
    "threshold": pl.Float64,
    "evidence": pl.String,
    "excerpt": pl.String,
    "prompt_version": pl.String,
}


@dataclass(frozen=True)
class DialogueHarvest:
    """Every requested conversation, once: in `conversations`, or in `rejected` with the rule."""

    conversations: pl.DataFrame
    rejected: pl.DataFrame
    answers: pl.DataFrame


def generate_conversations(
    personas: pl.DataFrame,
    documents: pl.DataFrame,
    *,
    pack: PromptPack,
    language: Language,
    identifier: LanguageIdentifier,
    profile: Profile,
    ask: Ask,
) -> DialogueHarvest:
    """Ask for the conversations of kept personas and judge the replies.

    `personas` has `persona_id`, `persona`, `parent_persona_id` and `doc_id`; `documents` has `doc_id`
    and `text`. A conversation's id is its persona's with "-1", "-2" … behind it.
    """
    by_id = {row["persona_id"]: row for row in personas.to_dicts()}
    sources = dict(documents.select("doc_id", "text").iter_rows())
    asked = conversation_requests(list(by_id.values()), pack, profile.conversations, profile.llm)
    conversations: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    requests = list(unrepeated(asked, set()))
    for exchange in ask_twice(
        ask,
        CONVERSATION,
        language.code,
        requests,
        fault_of=lambda outcome: _fault(_read(outcome, pack)),
        enabled=profile.llm.reasks,
    ):
        request, outcome = exchange.request, exchange.outcome
        answers += [answer_row(sent, answer) for sent, answer in exchange.answers]
        persona = by_id[request.origin]
        common = {
            "lang": language.code,
            "id": f"{request.origin}-{request.facts['sample'] + 1}",
            "persona_id": request.origin,
            "answer_key": request.key,
            "type": request.facts["type"],
            "prompt_version": pack.version,
        }
        verdict = _judge(exchange, pack, language, identifier, profile)
        if isinstance(verdict, Rejection):
            text = outcome.text if isinstance(outcome, Answer) else ""
            facts = {key: value for key, value in vars(verdict).items() if key != "stage"}
            rejected.append({**common, **facts, "excerpt": excerpt(text)})
        else:
            conversations.append(
                {
                    **common,
                    "persona": persona["persona"],
                    "parent_persona_id": persona["parent_persona_id"],
                    "prompt": verdict.turns[0].content,
                    "messages": [vars(turn) for turn in verdict.turns],
                    "theme": verdict.theme,
                    "source_text": sources[persona["doc_id"]],
                    "doc_id": persona["doc_id"],
                }
            )
    return DialogueHarvest(
        conversations=pl.DataFrame(conversations, schema=CONVERSATION_SCHEMA),
        rejected=pl.DataFrame(rejected, schema=REJECTED_CONVERSATION_SCHEMA),
        answers=pl.DataFrame(answers, schema=ANSWER_SCHEMA),
    )


def _read(outcome: Outcome, pack: PromptPack) -> Dialogue | ReplyFault:
    return reply_fault(outcome) or read_dialogue(outcome.text if isinstance(outcome, Answer) else "", pack.themes)


def _fault(read: Dialogue | ReplyFault) -> ReplyFault | None:
    return read if isinstance(read, ReplyFault) else None


def _judge(
    exchange: Exchange,
    pack: PromptPack,
    language: Language,
    identifier: LanguageIdentifier,
    profile: Profile,
) -> Dialogue | Rejection:
    read = _read(exchange.outcome, pack)
    if isinstance(read, ReplyFault):
        fault = exchange.explain(named_fault(exchange.outcome, read))
        return Rejection("reply", fault.reason, evidence=fault.evidence or None)
    minimum = profile.conversations.min_language_score
    return judge_format(read.turns) or judge_turn_languages(read.turns, language, identifier, minimum) or read

"""Whatever a model replies, every request ends exactly once: as personas, or as a rejection with a reason."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persona_assets.filters.language_id import Detected
from persona_assets.generation.dialogues import generate_conversations
from persona_assets.generation.harvest import generate_personas
from persona_assets.generation.packs import load_pack
from persona_assets.identity import draw
from persona_assets.languages import Language, language
from persona_assets.llm.requests import Answer, Failure, Outcome, Request
from persona_assets.settings import load_profile

PACK, SPANISH = load_pack("es"), language("es")
PROFILE = load_profile("demo", {"expansion.hops": 3, "expansion.parents_per_hop": 4})
DOCUMENTS = pl.DataFrame({"doc_id": [f"d{n}" for n in range(5)], "text": [f"Texto número {n}" for n in range(5)]})

JUNK = st.text(max_size=30)
PERSONAS = st.sampled_from(["una enfermera", "un pescador", "une infirmière", "x", ""])
ROLES = st.sampled_from(["user", "assistant", "system"])
TURNS = st.lists(st.fixed_dictionaries({"role": ROLES, "content": JUNK}), max_size=4)
REPLIES = st.one_of(
    JUNK,
    st.builds(lambda p: json.dumps({"persona": p}), PERSONAS),
    st.builds(lambda p: json.dumps({"personas": p}), st.lists(PERSONAS, max_size=3)),
    st.builds(lambda t: json.dumps({"theme": "food", "messages": t}), TURNS),
    st.builds(lambda p: json.dumps({"persona": p})[:-3], PERSONAS),
)
ENDS = st.sampled_from(["stop", "length", "content_filter", "failed"])


class SpeaksSpanishOrNot:
    """Takes texts that begin with "un" for Spanish: half of the personas above."""

    name = "a stand-in"

    def identify(self, texts: Sequence[str]) -> list[Detected]:
        return [Detected("es" if text.startswith("un") else "fr", 0.9) for text in texts]

    def labels_of(self, language: Language) -> tuple[str, ...]:
        return language.lid176


def outcome_of(request: Request, replies: Sequence[str], ends: Sequence[str]) -> Outcome:
    """Draw a reply and an end for a request, by its key, so that the order of asking does not matter."""
    end = ends[draw("end", request.key) % len(ends)]
    if end == "failed":
        return Failure(request.key, "timeout", "no answer", attempts=3, permanent=False)
    text = replies[draw("text", request.key) % len(replies)]
    return Answer(request.key, text, end, request.max_tokens, request.model, "nowhere")


def generate(replies: Sequence[str], ends: Sequence[str]) -> tuple[object, list[Request]]:
    asked: list[Request] = []

    def ask(stage: str, lang: str, requests: Sequence[Request]) -> Iterable[tuple[Request, Outcome]]:
        asked.extend(requests)
        return [(request, outcome_of(request, replies, ends)) for request in requests]

    harvest = generate_personas(
        DOCUMENTS, pack=PACK, language=SPANISH, identifier=SpeaksSpanishOrNot(), profile=PROFILE, ask=ask
    )
    return harvest, asked


@given(st.lists(REPLIES, min_size=1, max_size=6), st.lists(ENDS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_request_for_personas_ends_exactly_once(replies: list[str], ends: list[str]) -> None:
    harvest, asked = generate(replies, ends)
    keys = [request.key for request in asked]
    assert len(set(keys)) == len(keys) == harvest.requests
    gave, gave_none = set(harvest.personas["answer_key"]), list(harvest.rejected["answer_key"])
    assert Counter([*gave, *gave_none]) == Counter(keys)
    assert all(harvest.rejected["reason"])
    answered = {key for key, request in zip(keys, asked, strict=True) if not failed(request, ends)}
    assert set(harvest.answers["answer_key"]) == answered


def failed(request: Request, ends: Sequence[str]) -> bool:
    return isinstance(outcome_of(request, [""], ends), Failure)


@given(st.lists(REPLIES, min_size=1, max_size=6), st.lists(ENDS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_ids_are_unique_and_every_parent_is_in_its_language_one_hop_nearer(replies: list[str], ends: list[str]) -> None:
    harvest, _ = generate(replies, ends)
    rows = {row["persona_id"]: row for row in harvest.personas.to_dicts()}
    assert len(rows) == harvest.personas.height
    for row in rows.values():
        if row["hop"] == 0:
            assert (row["parent_persona_id"], row["root_persona_id"]) == (None, row["persona_id"])
            continue
        parent = rows[row["parent_persona_id"]]
        assert parent["hop"] == row["hop"] - 1
        assert parent["persona"].startswith("un")
        assert (row["root_persona_id"], row["doc_id"]) == (parent["root_persona_id"], parent["doc_id"])


@given(st.lists(REPLIES, min_size=1, max_size=6), st.lists(ENDS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_requested_conversation_ends_exactly_once(replies: list[str], ends: list[str]) -> None:
    personas = pl.DataFrame(
        {
            "persona_id": [f"p{n}" for n in range(6)],
            "persona": [f"una persona {n}" for n in range(6)],
            "parent_persona_id": pl.Series([None] * 6, dtype=pl.String),
            "doc_id": [f"d{n % 5}" for n in range(6)],
        }
    )

    def ask(stage: str, lang: str, requests: Sequence[Request]) -> Iterable[tuple[Request, Outcome]]:
        return [(request, outcome_of(request, replies, ends)) for request in requests]

    harvest = generate_conversations(
        personas,
        DOCUMENTS,
        pack=PACK,
        language=SPANISH,
        identifier=SpeaksSpanishOrNot(),
        profile=load_profile("demo", {"conversations.per_persona": 2}),
        ask=ask,
    )
    ids = [*harvest.conversations["id"], *harvest.rejected["id"]]
    assert Counter(ids) == Counter(f"p{n}-{k}" for n in range(6) for k in (1, 2))
    for talk in harvest.conversations["messages"]:
        roles = [turn["role"] for turn in talk]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(turn["content"] for turn in talk)

"""The rules of a conversation, each by name."""

import json
from pathlib import Path

import pytest

from persona_assets.filters.conversations import judge_format, judge_turn_languages
from persona_assets.filters.language_id import load_identifier
from persona_assets.generation.conversations import Turn
from persona_assets.languages import language

SPANISH = "¿Me ayudas a calcular cuánta pintura necesito para un cuarto de tres por cuatro metros?"
ENGLISH = "Of course, let us first compute the surface of the four walls and then add a small margin."


def turns(*pairs: tuple[str, str]) -> list[Turn]:
    return [Turn(role, content) for role, content in pairs]


def test_a_conversation_that_alternates_from_user_to_assistant_passes() -> None:
    assert judge_format(turns(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))) is None


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no_messages"),
        ([("user", "a"), ("assistant", "")], "empty_turn"),
        ([("user", "a"), ("system", "b")], "unknown_role"),
        ([("assistant", "a"), ("user", "b"), ("assistant", "c")], "first_not_user"),
        ([("user", "a"), ("assistant", "b"), ("assistant", "c")], "not_alternating"),
        ([("user", "a"), ("user", "b"), ("assistant", "c")], "not_alternating"),
        ([("user", "a"), ("assistant", "b"), ("user", "c")], "last_not_assistant"),
    ],
)
def test_a_broken_format_is_refused_by_name(messages: list[tuple[str, str]], reason: str) -> None:
    rejection = judge_format(turns(*messages))
    assert rejection is not None
    assert rejection.reason == reason


def test_a_turn_in_another_language_is_refused_with_its_place_and_score() -> None:
    identifier = load_identifier("lid176")
    rejection = judge_turn_languages(
        turns(("user", SPANISH), ("assistant", ENGLISH)), language("es"), identifier, min_score=0.5
    )
    assert rejection is not None
    assert (rejection.reason, rejection.evidence) == ("turn_language", "message 1: en")
    assert rejection.score is not None
    assert rejection.score >= 0.5


def test_turns_too_short_for_language_identification_are_not_judged() -> None:
    identifier = load_identifier("lid176")
    talk = turns(("user", SPANISH), ("assistant", "OK, thanks!"))
    assert judge_turn_languages(talk, language("es"), identifier, min_score=0.5) is None


def test_every_real_conversation_gets_a_verdict_and_those_that_end_with_the_user_are_refused(
    shared_data: Path,
) -> None:
    import gzip

    with gzip.open(shared_data / "conversations.jsonl.gz", "rt", encoding="utf-8") as lines:
        talks = [json.loads(line)["messages"] for line in lines]
    verdicts = [judge_format(turns(*((m["role"], m["content"]) for m in talk))) for talk in talks]
    ends_with_user = [talk[-1]["role"] == "user" for talk in talks]
    assert any(ends_with_user)
    assert all(verdict is not None for verdict, ends in zip(verdicts, ends_with_user, strict=True) if ends)
    assert any(verdict is None for verdict in verdicts)

"""Reading replies: lenient in form, never inventing content."""

import pytest

from persona_assets.generation.conversations import Dialogue, Turn, read_dialogue
from persona_assets.generation.parsing import ReplyFault, excerpt, parse_json
from persona_assets.generation.personas import PersonaReply, read_personas

THEMES = {"food": "cocina y alimentación", "health": "salud"}


@pytest.mark.parametrize(
    "text",
    [
        '{"persona": "una enfermera"}',
        '  {"persona": "una enfermera"}\n',
        '```json\n{"persona": "una enfermera"}\n```',
        '```\n{"persona": "una enfermera"}\n```',
        'Claro, aquí tienes:\n{"persona": "una enfermera"}\nEspero que sirva.',
        '\ufeff{"persona": "una enfermera"}',
        '[{"persona": "una enfermera"}]',
        '{"personas": ["una enfermera"]}',
    ],
)
def test_a_persona_is_read_whatever_stands_around_its_json(text: str) -> None:
    assert read_personas(text) == [PersonaReply("una enfermera", None)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty_reply"),
        ("   \n", "empty_reply"),
        ("una enfermera de noche", "invalid_json"),
        ('{"persona": "una enfermera que dice "hola""}', "invalid_json"),
        ('{"persona": "una enfermera que', "invalid_json"),
        ('{"descripción": "una enfermera"}', "wrong_shape"),
        ('{"persona": {"nombre": "x"}}', "wrong_shape"),
        ('{"persona": 7}', "wrong_shape"),
        ('{"persona": "  "}', "empty_persona"),
        ('{"personas": []}', "empty_persona"),
        ("null", "wrong_shape"),
    ],
)
def test_a_reply_without_a_persona_is_named_by_its_fault(text: str, reason: str) -> None:
    fault = read_personas(text)
    assert isinstance(fault, ReplyFault)
    assert fault.reason == reason


def test_raw_line_breaks_inside_a_string_are_accepted() -> None:
    assert parse_json('{"a": "one\ntwo"}') == {"a": "one\ntwo"}


def test_several_personas_in_a_reply_are_all_read_with_their_relations() -> None:
    text = '{"personas": [{"relation": "prima", "persona": "una"}, {"persona": "otra"}]}'
    assert read_personas(text) == [PersonaReply("una", "prima"), PersonaReply("otra", None)]


def test_what_no_database_can_hold_is_taken_out_of_a_persona() -> None:
    assert read_personas('{"persona": " a\\u0000b\\ud800c "}') == [PersonaReply("abc", None)]


def test_an_excerpt_is_one_line_of_bounded_length() -> None:
    assert excerpt("a\n b" + "c" * 500, 20) == "a b" + "c" * 16 + "…"


@pytest.mark.parametrize("theme", ["food", "Food", "cocina y alimentación", "food: cocina y alimentación"])
def test_a_theme_is_known_by_key_or_label(theme: str) -> None:
    text = f'{{"theme": "{theme}", "messages": [{{"role": "user", "content": " hola "}}]}}'
    assert read_dialogue(text, THEMES) == Dialogue("food", (Turn("user", "hola"),))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "wrong_shape"),
        ('{"theme": "food"}', "wrong_shape"),
        ('{"theme": "food", "messages": [{"role": "user"}]}', "wrong_shape"),
        ('{"theme": "food", "messages": ["hola"]}', "wrong_shape"),
        ('{"theme": "alchemy", "messages": []}', "unknown_theme"),
        ('{"messages": []}', "unknown_theme"),
        ("{", "invalid_json"),
    ],
)
def test_a_reply_without_a_dialogue_is_named_by_its_fault(text: str, reason: str) -> None:
    fault = read_dialogue(text, THEMES)
    assert isinstance(fault, ReplyFault)
    assert fault.reason == reason

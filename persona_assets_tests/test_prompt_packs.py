"""Prompt packs: complete, native, and versioned by content."""

import re
from pathlib import Path

import pytest

from persona_assets.errors import PromptPackError
from persona_assets.filters.language_id import load_identifier
from persona_assets.generation.packs import PACKS_FOLDER, fill, load_pack
from persona_assets.languages import language, languages

# What stays in English on purpose: keys of the JSON that a reply must hold.
JSON_WORDS = {"json", "persona", "relation", "theme", "messages", "role", "content", "user", "assistant"}


def texts_of(lang: str) -> list[str]:
    pack = load_pack(lang)
    parts = [pack.text_to_persona, pack.persona_to_persona]
    asked = [text for part in parts for text in (part.system, part.template, *part.relations.values())]
    conversation = [pack.conversation.system, pack.conversation.template, *pack.conversation.types.values()]
    return [*asked, *conversation, *pack.details.values()]


@pytest.mark.parametrize("lang", languages())
def test_every_text_of_a_pack_is_in_its_language(lang: str) -> None:
    identifier = load_identifier("lid176")
    labels = identifier.labels_of(language(lang))
    long = [re.sub(r"\$\w+|\{.*?\}", " ", text) for text in texts_of(lang) if len(text) > 60]
    for text, found in zip(long, identifier.identify(long), strict=True):
        # lid.176 guesses at short questions; only a sure word for another language is evidence.
        assert found.label in labels or found.score < 0.5, (found, text[:80])
    assert identifier.identify([" ".join(long)])[0].label in labels


@pytest.mark.parametrize("lang", [code for code in languages() if language(code).script != "Latn"])
def test_a_pack_in_another_script_has_no_latin_words_but_the_json_keys(lang: str) -> None:
    for text in texts_of(lang):
        words = {word.lower() for word in re.findall(r"(?<!\$)\b[A-Za-z]{2,}\b", text)}
        assert words <= JSON_WORDS, text[:80]


@pytest.mark.parametrize("lang", languages())
def test_a_pack_asks_for_the_json_that_the_parser_reads(lang: str) -> None:
    pack = load_pack(lang)
    assert '{"persona":' in pack.text_to_persona.system
    assert '{"relation":' in pack.persona_to_persona.system
    assert '"messages": [{"role": "user"' in pack.conversation.system


def test_all_packs_have_the_same_themes() -> None:
    keys = {code: set(load_pack(code).themes) for code in languages()}
    assert len(set(map(frozenset, keys.values()))) == 1
    assert len(keys["es"]) >= 30


def edited(folder: Path, old: str, new: str) -> Path:
    text = (PACKS_FOLDER / "es.toml").read_text(encoding="utf-8")
    assert old in text
    folder.mkdir(exist_ok=True)
    (folder / "es.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder


def test_the_version_follows_the_content_and_ignores_comments(tmp_path: Path) -> None:
    before = load_pack("es").version
    assert load_pack("es", edited(tmp_path / "a", "language =", "# a comment\nlanguage =")).version == before
    assert load_pack("es", edited(tmp_path / "b", "¿Quién", "Pues ¿quién")).version != before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("$document", "$text", "text_to_persona.template must use exactly"),
        ("dislike =", "hate =", "text_to_persona.relations has missing or unknown keys: dislike, hate"),
        ("[details]", "[detail]", "details"),
        ('language = "es"', 'language = "es', "not valid TOML"),
    ],
)
def test_a_faulty_pack_is_named_with_its_fault(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(PromptPackError) as caught:
        load_pack("es", edited(tmp_path, old, new))
    assert said in str(caught.value)
    assert "es.toml" in str(caught.value)


def test_a_document_with_placeholders_of_its_own_is_not_expanded() -> None:
    assert fill("$a then $b", a="costs $b", b="two") == "costs $b then two"

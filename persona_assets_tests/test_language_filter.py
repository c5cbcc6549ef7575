"""The language filter: same language as the seed, score at the threshold or above, with the evidence."""

import gzip
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import polars as pl
import pytest

from persona_assets.errors import ModelMissingError
from persona_assets.filters.language_id import Detected, load_identifier, locate_model
from persona_assets.filters.personas import judge_personas
from persona_assets.languages import Language, language, language_of_label, languages
from persona_assets.settings import FilterSettings
from persona_assets_tests.conftest import TINY_GLOTLID

PERSONAS = {
    "es": "Una enfermera que trabaja de noche en un consultorio rural y estudia para matrona",
    "eu": "Gauez lan egiten duen erizain bat, herri txiki batean bizi dena",
    "zh": "一位在乡村诊所值夜班、正在准备助产士考试的护士",
    "ar": "ممرضة تعمل ليلا في عيادة ريفية وتدرس لتصبح قابلة",
    "en": "A night-shift nurse in a rural clinic who is studying to become a midwife",
}


def frame(*personas: str) -> pl.DataFrame:
    return pl.DataFrame({"persona_id": [f"p{n}" for n in range(len(personas))], "persona": personas})


@pytest.mark.parametrize("model", ["lid176", str(TINY_GLOTLID)])
@pytest.mark.parametrize("lang", PERSONAS)
def test_only_personas_in_the_language_of_the_partition_are_kept(model: str, lang: str) -> None:
    verdicts = judge_personas(
        frame(*PERSONAS.values()), language(lang), load_identifier(model), FilterSettings(language_model=model)
    )
    assert verdicts.kept["persona"].to_list() == [PERSONAS[lang]]
    assert set(verdicts.rejected["reason"]) == {"other_language"}
    assert verdicts.kept.height + verdicts.rejected.height == len(PERSONAS)


def test_a_model_with_glotlid_labels_reports_its_own_labels() -> None:
    identifier = load_identifier(str(TINY_GLOTLID))
    assert [found.label for found in identifier.identify([PERSONAS["zh"], PERSONAS["ar"]])] == ["cmn_Hani", "arb_Arab"]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Detected("es", 0.5), None),
        (Detected("es", 0.4999), "language_score"),
        (Detected("pt", 0.9), "other_language"),
        (Detected("", 0.0), "other_language"),
    ],
)
def test_the_threshold_is_met_by_equality(found: Detected, reason: str | None) -> None:
    class Certain:
        """Detects the same for every text: real scores do not fall on the threshold."""

        name = "certain"

        def identify(self, texts: Sequence[str]) -> list[Detected]:
            return [found] * len(texts)

        def labels_of(self, _: Language) -> tuple[str, ...]:
            return ("es",)

    verdicts = judge_personas(frame(PERSONAS["es"]), language("es"), Certain(), FilterSettings())
    assert verdicts.rejected["reason"].to_list() == ([reason] if reason else [])
    if reason:
        assert verdicts.rejected.select("stage", "score", "threshold", "evidence").rows() == [
            ("language", found.score, 0.5, found.label)
        ]


def test_length_is_judged_before_language_and_measured_in_characters() -> None:
    settings = FilterSettings(language_model="lid176", min_chars=10, max_chars=60)
    long = PERSONAS["es"]
    verdicts = judge_personas(frame("一名护士", long, "..."), language("es"), load_identifier("lid176"), settings)
    assert verdicts.rejected.select("reason", "score", "threshold").rows() == [
        ("too_short", 4.0, 10.0),
        ("too_long", float(len(long)), 60.0),
        ("too_short", 3.0, 10.0),
    ]


def test_no_personas_give_no_verdicts_but_all_columns() -> None:
    empty = pl.DataFrame(schema={"persona_id": pl.String, "persona": pl.String})
    verdicts = judge_personas(empty, language("es"), load_identifier("lid176"), FilterSettings())
    assert verdicts.kept.columns == ["persona_id", "persona", "detected_lang", "language_score"]
    assert verdicts.rejected.is_empty()


def test_a_text_of_several_lines_or_without_letters_is_judged_too() -> None:
    identifier = load_identifier("lid176")
    several, none = identifier.identify(["Una enfermera\nque trabaja\tde noche", "12 345 🙂"])
    assert several.label == "es"
    assert none == Detected("", 0.0)


def test_glotlid_that_is_not_on_the_machine_is_named_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelMissingError, match=r"hf download cis-lmu/glotlid model_v3\.bin"):
        locate_model("glotlid")


def test_glotlid_is_found_where_the_hub_client_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--cis-lmu--glotlid" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model_v3.bin").symlink_to(TINY_GLOTLID)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert load_identifier("glotlid").identify([PERSONAS["eu"]])[0].label == "eus_Latn"


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"no model")
    with pytest.raises(ModelMissingError, match="not a fastText model"):
        load_identifier(str(path))


def test_labels_and_scores_are_those_of_fasttext_itself(shared_data: Path) -> None:
    import fasttext

    with gzip.open(shared_data / "language_id.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, 0, None, 11)]
    identifier = load_identifier("lid176")
    bare = fasttext.load_model(str(locate_model("lid176")[0]))
    for text, found in zip(texts, identifier.identify(texts), strict=True):
        labels, scores = bare.predict(text.replace("\n", " "))
        assert found == (labels[0].removeprefix("__label__"), min(scores[0], 1.0))


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "a", "🙂🙂", "\ud800 una enfermera", "una\x00enfermera", "ممرضة\u200f ليلية", "a" * 100_000]
)
def test_a_strange_text_has_a_label_or_none_and_a_score_in_range(text: str) -> None:
    (found,) = load_identifier("lid176").identify([text])
    assert 0.0 <= found.score <= 1.0
    assert bool(found.label) == any(map(str.isalpha, text))


@pytest.mark.parametrize(("label", "code"), [("zho_Hant", "zh"), ("ara_Arab", "ar"), ("spa", "es"), ("eu", "eu")])
def test_labels_of_other_label_sets_name_the_same_language(label: str, code: str) -> None:
    found = language_of_label(label)
    assert found is not None
    assert found.code == code


@pytest.mark.parametrize("label", ["ast_Latn", "yue_Hant", "arz", "xx", ""])
def test_a_close_language_is_not_taken_for_one_of_ours(label: str) -> None:
    assert language_of_label(label) is None


def test_no_label_stands_for_two_languages() -> None:
    labels = [
        {entry.code, entry.iso639_3, *entry.glotlid, *entry.lid176, *entry.aliases} for entry in languages().values()
    ]
    assert len(set().union(*labels)) == sum(map(len, labels))

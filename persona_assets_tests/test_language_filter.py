"""The language filter: same language as the seed, score at the threshold or above, with the evidence."""

from pathlib import Path

import polars as pl
import pytest

from persona_assets.errors import ModelMissingError
from persona_assets.filters.language_id import Detected, load_identifier, locate_model
from persona_assets.filters.personas import judge_language, judge_personas
from persona_assets.languages import language
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
    rejection = judge_language(found, ("es",), 0.5)
    assert (rejection.reason if rejection else None) == reason
    if rejection:
        assert (rejection.score, rejection.threshold, rejection.evidence) == (found.score, 0.5, found.label)


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

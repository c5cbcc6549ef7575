"""`persona-assets evaluate language-id`: figures that can be checked by hand, on any labelled file."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from persona_assets.filters.evaluation import EvaluationError, evaluate, read_labelled
from persona_assets.filters.language_id import load_identifier
from persona_assets_tests.conftest import Cli

ROWS = [
    ("Una enfermera que trabaja de noche en un consultorio rural", "spa"),
    ("El panadero jubilado escribe cartas a sus nietos cada domingo", "es"),
    ("A night-shift nurse in a rural clinic who is studying", "zho_Hans"),  # a wrong label: a miss of zh
    ("一位在乡村诊所值夜班、正在准备助产士考试的护士", "zh-Hans"),
    ("Un'infermiera che lavora di notte in un ambulatorio di campagna", "ita"),
]


def labelled() -> pl.DataFrame:
    return pl.DataFrame(ROWS, schema=["text", "label"], orient="row")


def test_scores_are_those_counted_by_hand() -> None:
    found = evaluate(labelled(), load_identifier("lid176"), 0.5)
    scores = {score.lang: score for score in found.scores}
    assert (scores["es"].support, scores["es"].precision, scores["es"].recall, scores["es"].f1) == (2, 1.0, 1.0, 1.0)
    assert (scores["zh"].support, scores["zh"].precision, scores["zh"].recall, scores["zh"].f1) == (2, 1.0, 0.5, 0.6667)
    assert (scores["en"].support, scores["en"].precision, scores["en"].recall) == (0, 0.0, None)
    assert (scores["en"].intruders, scores["zh"].accepted) == (1, 0.5)
    assert (found.texts, found.accuracy) == (5, 0.75)
    assert ("zh", "en", 1, 1) in found.confusions.rows()


def test_a_threshold_out_of_reach_accepts_nothing_and_changes_no_recall() -> None:
    found = evaluate(labelled(), load_identifier("lid176"), 1.01)
    assert {score.accepted for score in found.scores if score.support} == {0.0}
    assert next(score for score in found.scores if score.lang == "es").recall == 1.0


def test_no_texts_give_no_scores() -> None:
    found = evaluate(labelled().clear(), load_identifier("lid176"), 0.5)
    assert (found.scores, found.accuracy, found.confusions.height) == ([], None, 0)


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "csv"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"labelled.{kind}"
    frame = pl.DataFrame({"sentence": [text for text, _ in ROWS], "language": [label for _, label in ROWS]})
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind == "csv":
        frame.write_csv(path)
    else:
        data = frame.write_ndjson().encode()
        path.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    assert read_labelled(path, text="sentence", label="language").rows() == ROWS
    spanish = read_labelled(path, text="sentence", label="language", where=("language", ["spa", "es"]))
    assert spanish.rows() == ROWS[:2]


@pytest.mark.parametrize("name", ["broken.parquet", "broken.jsonl.gz", "broken.jsonl", "notes.txt"])
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"{ not a file of any kind")
    with pytest.raises(EvaluationError, match=name) as caught:
        read_labelled(path, text="text", label="lang")
    assert "\n" not in str(caught.value)


def test_the_command_prints_tables_or_json_and_names_a_missing_column(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps({"text": t, "lang": label}) + "\n" for t, label in ROWS), encoding="utf-8")
    table = cli("evaluate", "language-id", path, "--model", "lid176")
    assert table.returncode == 0, table.stderr
    assert "precision" in table.stdout
    told = json.loads(cli("evaluate", "language-id", path, "--model", "lid176", "--json").stdout)
    assert [row["lang"] for row in told["languages"]] == ["es", "zh", "en"]
    missing = cli("evaluate", "language-id", path, "--model", "lid176", "--label", "gold")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "no column 'gold'" in missing.stderr

"""The bundled seed documents: varied, native, invented, and in FineWeb2's columns."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from persona_assets.filters.language_id import load_identifier
from persona_assets.languages import language, languages
from persona_assets.seeds.reading import SAMPLES_FOLDER, open_documents
from persona_assets.seeds.selection import select_documents
from persona_assets.settings import load_profile

COLUMNS = {
    "text",
    "id",
    "dump",
    "url",
    "date",
    "file_path",
    "language",
    "language_score",
    "language_script",
    "minhash_cluster_size",
    "top_langs",
}


def rows(lang: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLES_FOLDER / f"{lang}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("lang", languages())
def test_samples_have_the_columns_of_fineweb2_and_invented_addresses(lang: str) -> None:
    for row in rows(lang):
        assert set(row) >= COLUMNS
        assert (urlsplit(row["url"]).hostname or "").endswith(".example")


@pytest.mark.parametrize("lang", languages())
def test_at_least_eight_documents_of_different_genres_are_taken_and_the_rest_refused(lang: str) -> None:
    selection = select_documents(
        open_documents(str(SAMPLES_FOLDER / f"{lang}.jsonl")), language(lang), load_profile("demo").seeds
    )
    assert selection.documents["kind"].n_unique() >= 8
    assert {"too_short", "other_language"} <= set(selection.rejected["reason"])


@pytest.mark.parametrize("lang", languages())
def test_language_identification_agrees_with_every_sample_that_is_taken(lang: str) -> None:
    identifier = load_identifier("lid176")
    taken = [row["text"] for row in rows(lang) if row["language"] == language(lang).iso639_3]
    assert {found.label for found in identifier.identify(taken)} <= set(identifier.labels_of(language(lang)))

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from persona_assets.languages import languages
from persona_assets.seeds.reading import SeedRow, open_documents
from persona_assets.seeds.selection import (
    DOCUMENT_SCHEMA,
    REJECTED_DOCUMENT_SCHEMA,
    Selection,
    select_documents,
)
from persona_assets.settings import SeedSettings

SHARED_DOCUMENTS = Path(__file__).parents[2] / "shared" / "data" / "documents"
SPANISH = languages()["es"]
ANY_LENGTH = SeedSettings(min_chars=0)


def rows_of(*texts: str | None, **columns: object) -> list[SeedRow]:
    return [SeedRow("a.jsonl", number, text=text, **columns) for number, text in enumerate(texts)]


def select(rows: list[SeedRow], code: str = "es", **knobs: object) -> Selection:
    return select_documents(rows, languages()[code], SeedSettings(**{"min_chars": 0, **knobs}))


def reasons(selection: Selection) -> list[str]:
    return selection.rejected["reason"].to_list()


def all_ids(selection: Selection) -> list[str]:
    return [*selection.documents["doc_id"], *selection.rejected["doc_id"]]


def test_a_taken_document_carries_what_was_read_and_why_it_was_taken():
    row = SeedRow(
        "a.parquet",
        7,
        text="Un texto",
        source_id="u1",
        url="https://www.Diario.example/n",
        date="2022-11-15",
        dump="CC-MAIN-2022-49",
        language="spa",
        language_score=0.9,
        language_script="Latn",
        minhash_cluster_size=3,
        license="CC0",
        kind="news",
    )
    taken = select([row]).documents.row(0, named=True)
    evidence = json.loads(taken.pop("selection"))
    assert evidence["rank"] == 1
    assert evidence["sample"] == round(evidence["sample"], 6)
    assert len(taken.pop("doc_id")) == len("es-d-") + 16
    assert taken == {
        "lang": "es",
        "text": "Un texto",
        "url": "https://www.Diario.example/n",
        "source": "a.parquet",
        "source_id": "u1",
        "row": 7,
        "license": "CC0",
        "kind": "news",
        "dump": "CC-MAIN-2022-49",
        "date": "2022-11-15",
        "language_score": 0.9,
        "minhash_cluster_size": 3,
        "chars": 8,
        "domain": "diario.example",
    }


def test_without_rows_both_frames_still_have_every_column():
    nothing = select([])
    assert nothing.documents.schema == DOCUMENT_SCHEMA
    assert nothing.rejected.schema == REJECTED_DOCUMENT_SCHEMA
    assert nothing.scanned == 0


def test_reading_stops_at_the_last_document_wanted():
    def endless() -> Iterator[SeedRow]:
        yield from rows_of("uno", "", "dos")
        raise AssertionError("a row beyond the limit was read")

    selection = select_documents(endless(), SPANISH, SeedSettings(limit=2, min_chars=0))
    assert selection.documents["text"].to_list() == ["uno", "dos"]
    assert [json.loads(evidence)["rank"] for evidence in selection.documents["selection"]] == [1, 2]
    assert selection.scanned == 3


@pytest.mark.parametrize(
    ("columns", "knobs", "expected"),
    [
        ({"fault": "invalid_json", "fault_evidence": "line"}, {}, ("invalid_json", None, None, "line")),
        ({"fault": "wrong_type"}, {}, ("wrong_type", None, None, None)),
        ({"text": None}, {}, ("empty_text", None, None, None)),
        ({"text": " \n\u3000"}, {}, ("empty_text", None, None, None)),
        ({"text": "\0\ud800"}, {}, ("empty_text", None, None, None)),
        ({"language": "cat"}, {}, ("other_language", None, None, "cat")),
        ({"language_score": 0.4}, {"min_language_score": 0.5}, ("language_score", 0.4, 0.5, None)),
        ({}, {"min_chars": 9}, ("too_short", 8, 9, None)),
        ({}, {"max_chars": 7}, ("too_long", 8, 7, None)),
        ({"minhash_cluster_size": 5}, {"max_cluster_size": 4}, ("cluster_size", 5, 4, None)),
    ],
)
def test_a_rejection_gives_reason_measure_and_threshold(columns, knobs, expected):
    row = replace(SeedRow("a.jsonl", 3, text="Un texto", source_id="u1", url="https://a.example"), **columns)
    selection = select([row], **knobs)
    assert selection.documents.height == 0
    verdict = selection.rejected.select("reason", "score", "threshold", "evidence").row(0)
    assert verdict == expected
    assert selection.rejected.select("source", "row", "source_id").row(0) == ("a.jsonl", 3, "u1")


@pytest.mark.parametrize(
    ("columns", "knobs"),
    [
        ({"language_score": 0.5}, {"min_language_score": 0.5}),
        ({"language_score": None}, {"min_language_score": 0.5}),
        ({}, {"min_chars": 8, "max_chars": 8}),
        ({"minhash_cluster_size": 4}, {"max_cluster_size": 4}),
        ({"minhash_cluster_size": None}, {"max_cluster_size": 4}),
        ({"minhash_cluster_size": 10**6}, {}),
    ],
)
def test_thresholds_are_inclusive_and_what_the_corpus_does_not_say_is_not_held_against_it(columns, knobs):
    row = replace(SeedRow("a.jsonl", 0, text="Un texto"), **columns)
    assert select([row], **knobs).documents.height == 1


def test_the_first_rule_that_fails_is_the_reason():
    row = SeedRow("a.jsonl", 0, text="x", language="cat", language_score=0.1, minhash_cluster_size=9)
    knobs = {"min_language_score": 0.5, "min_chars": 5, "max_cluster_size": 1, "sample_share": 0.0}
    expected = ["other_language", "language_score", "too_short", "cluster_size", "not_sampled"]
    for reason in expected:
        assert reasons(select([row], **knobs)) == [reason]
        row = replace(
            row,
            language=None if reason == "other_language" else row.language,
            language_score=None if reason == "language_score" else row.language_score,
            text="long enough" if reason == "too_short" else row.text,
            minhash_cluster_size=None if reason == "cluster_size" else row.minhash_cluster_size,
        )


@pytest.mark.parametrize(
    ("code", "label", "script"),
    [
        ("es", "es", None),
        ("es", "spa", "Latn"),
        ("es", "spa_Latn", None),
        ("es", "SPA", "latn"),
        ("es", "es-MX", None),
        ("es", None, "Latn"),
        ("es", "", ""),
        ("en", "en", None),
        ("zh", "cmn", "Hani"),
        ("zh", "zho", "Hans"),
        ("zh", "zh-Hant-TW", "Hant"),
        ("zh", "cmn_Hani", None),
        ("ar", "arb", "Arab"),
        ("ar", "ara_Arab", None),
        ("ar", "ar", None),
    ],
)
def test_the_labels_in_use_for_a_language_are_its_own(code, label, script):
    assert select(rows_of("texto", language=label, language_script=script), code).documents.height == 1


@pytest.mark.parametrize(
    ("code", "label", "script", "evidence"),
    [
        ("es", "cat", "Latn", "cat_Latn"),
        ("es", "spa", "Cyrl", "spa_Cyrl"),
        ("es", "spa_Hebr", None, "spa_Hebr"),
        ("es", None, "Hani", "Hani"),
        ("zh", "yue", "Hani", "yue_Hani"),
        ("zh", "cmn", "Latn", "cmn_Latn"),
        ("ar", "arz", "Arab", "arz_Arab"),
        ("eu", "es", None, "es"),
    ],
)
def test_another_label_is_rejected_and_recorded(code, label, script, evidence):
    selection = select(rows_of("texto", language=label, language_script=script), code)
    assert selection.rejected.select("reason", "evidence").row(0) == ("other_language", evidence)


def test_a_repeated_text_is_rejected_with_the_document_that_it_repeats():
    selection = select([*rows_of("uno", "dos", "uno")])
    assert reasons(selection) == ["duplicate_document"]
    assert selection.rejected["evidence"].to_list() == [selection.documents["doc_id"][0]]
    assert len(set(all_ids(selection))) == 3


def test_a_document_keeps_the_id_of_its_content_when_a_twin_was_rejected_before_it():
    alone = select(rows_of("uno", source_id="u"))
    twin = SeedRow("a.jsonl", 9, text="uno", source_id="u", language="cat")
    behind = select([twin, *rows_of("uno", source_id="u")])
    assert reasons(behind) == ["other_language"]
    assert behind.documents["doc_id"].to_list() == alone.documents["doc_id"].to_list()
    assert len(set(all_ids(behind))) == 2


def test_ids_depend_on_language_source_id_and_text_but_not_on_position():
    base = SeedRow("a.jsonl", 0, text="texto", source_id="u")
    moved = replace(base, file="b.jsonl", row=5)
    assert all_ids(select([base])) == all_ids(select([moved]))
    others = [
        select([replace(base, text="otro")]),
        select([replace(base, source_id="v")]),
        select([base], "eu"),
    ]
    assert len({*all_ids(select([base])), *(found for other in others for found in all_ids(other))}) == 4


def test_rows_without_id_and_text_are_told_apart_by_their_place():
    rows = [SeedRow(file, row) for file in ("a.jsonl", "b.jsonl") for row in range(3)]
    assert len(set(all_ids(select(rows)))) == 6


def test_the_domain_cap_counts_taken_documents_of_a_host():
    urls = [
        "https://www.a.example/1",
        "http://A.example:8080/2",
        "https://b.example/3",
        "https://a.example/4",
        "https://sub.a.example/5",
        None,
        None,
        "http://[broken",
    ]
    rows = [SeedRow("a.jsonl", number, text=f"t{number}", url=url) for number, url in enumerate(urls)]
    selection = select(rows, per_domain=1)
    rejected = selection.rejected.select("row", "reason", "score", "threshold", "evidence")
    assert rejected.rows() == [
        (1, "domain_cap", 1.0, 1.0, "a.example"),
        (3, "domain_cap", 1.0, 1.0, "a.example"),
    ]
    assert selection.documents["domain"].to_list() == [
        "a.example",
        "b.example",
        "sub.a.example",
        None,
        None,
        None,
    ]


def test_the_sample_has_its_share_is_repeatable_and_moves_with_the_seed():
    rows = rows_of(*(f"documento {number}" for number in range(2000)))
    first = select(rows, sample_share=0.3, limit=2000)
    assert 500 < first.documents.height < 700
    assert set(reasons(first)) == {"not_sampled"}
    assert first.rejected["score"].min() >= 0.3
    again = select(rows, sample_share=0.3, limit=2000)
    assert_frame_equal(first.documents, again.documents)
    moved = select(rows, sample_share=0.3, sample_seed=1, limit=2000)
    assert set(moved.documents["text"]) != set(first.documents["text"])


def test_a_smaller_sample_is_part_of_a_larger_one():
    rows = rows_of(*(f"documento {number}" for number in range(500)))
    small, large = (set(select(rows, sample_share=share).documents["text"]) for share in (0.2, 0.4))
    assert small < large


def test_an_excerpt_is_short_and_on_one_line():
    excerpt = select(rows_of("palabra \n\t" * 100), max_chars=10).rejected["excerpt"][0]
    assert len(excerpt) == 200
    assert excerpt.startswith("palabra palabra palabra")


def test_text_is_kept_but_for_what_no_table_can_hold(tmp_path):
    kept = select(rows_of("  a\0b\ud83dc \n😀\u2028", source_id="i\0d", url="u\udfff")).documents
    assert kept.select("text", "source_id", "url").row(0) == ("  abc \n😀\u2028", "id", "u")
    kept.write_parquet(tmp_path / "a.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "a.parquet"), kept)


# A busy machine is no failure.
patient = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
words = st.none() | st.text(st.characters(), max_size=12) | st.sampled_from(["uno", "dos", "\0", "\ud800"])
seed_rows = st.lists(
    st.builds(
        SeedRow,
        file=st.just("a.jsonl"),
        row=st.just(0),
        text=words,
        source_id=words,
        url=words | st.sampled_from(["https://a.example/1", "https://www.a.example/2"]),
        language=st.none() | st.sampled_from(["spa", "cat", "es_Cyrl"]),
        language_score=st.none() | st.floats(0, 1),
        minhash_cluster_size=st.none() | st.integers(0, 5),
        fault=st.none() | st.sampled_from(["invalid_json", "wrong_type"]),
    ),
    max_size=25,
).map(lambda rows: [replace(row, row=number) for number, row in enumerate(rows)])
knobs = st.builds(
    SeedSettings,
    limit=st.integers(1, 10),
    min_chars=st.integers(0, 4),
    max_chars=st.integers(4, 12),
    min_language_score=st.floats(0, 1),
    max_cluster_size=st.none() | st.integers(1, 5),
    per_domain=st.none() | st.integers(1, 2),
    sample_share=st.floats(0, 1),
    sample_seed=st.integers(),
)


@patient
@given(seed_rows, knobs)
def test_every_scanned_row_is_in_exactly_one_frame_under_its_own_id(rows, settings):
    selection = select_documents(rows, SPANISH, settings)
    positions = [*selection.documents["row"], *selection.rejected["row"]]
    assert selection.scanned == len(positions)
    assert sorted(positions) == list(range(selection.scanned))
    assert selection.scanned == len(rows) or selection.documents.height == settings.limit
    assert len(set(all_ids(selection))) == selection.scanned


@patient
@given(seed_rows, knobs)
def test_the_same_rows_give_the_same_frames(rows, settings):
    first, second = (select_documents(iter(rows), SPANISH, settings) for _ in range(2))
    assert_frame_equal(first.documents, second.documents)
    assert_frame_equal(first.rejected, second.rejected)


@patient
@given(st.integers(1, 40), st.integers(1, 40))
def test_neither_batches_nor_row_groups_show_in_the_selection(tmp_path_factory, batch_rows, group_rows):
    path = tmp_path_factory.mktemp("seeds") / "a.parquet"
    texts = [None if number % 7 == 0 else f"texto {number % 11}" for number in range(40)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=group_rows)
    selection = select_documents(open_documents(str(path), batch_rows=batch_rows), SPANISH, ANY_LENGTH)
    plain = select_documents(
        [SeedRow("a.parquet", number, text=text) for number, text in enumerate(texts)], SPANISH, ANY_LENGTH
    )
    assert_frame_equal(selection.documents, plain.documents)
    assert_frame_equal(selection.rejected, plain.rejected)


@pytest.mark.parametrize("code", ["es", "zh", "ar", "en"])
def test_real_documents_are_all_accounted_for(code):
    path = SHARED_DOCUMENTS / f"{code}.parquet"
    if not path.is_file():
        pytest.skip("the shared data is not here")
    selection = select_documents(open_documents(str(path)), languages()[code], SeedSettings(limit=300))
    assert selection.documents.height == 300
    assert selection.scanned == selection.documents.height + selection.rejected.height
    assert "other_language" not in reasons(selection)
    assert len(set(all_ids(selection))) == selection.scanned

"""Embedders: unit rows, the real sentence-transformers code path, and clear words when one is missing."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from persona_assets.dedup.embedders import LABSE_REVISION, check_embedder, load_embedder
from persona_assets.dedup.personas import deduplicate
from persona_assets.errors import ModelMissingError
from persona_assets.languages import language
from persona_assets.settings import DedupSettings

TEXTS = ["Una enfermera de noche", "看夜班的护士", "ممرضة ليلية", "🙂"]


def test_the_lexical_embedder_gives_unit_rows_and_sees_shared_wording() -> None:
    embedder = load_embedder("lexical")
    rows = embedder.encode([*TEXTS, "Una enfermera de noche en un pueblo"])
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows[:3], axis=1), 1.0, atol=1e-6)
    assert rows[0] @ rows[4] > 0.6 > rows[0] @ rows[1]


def test_a_model_of_labses_architecture_gives_unit_rows(tiny_labse: Path) -> None:
    rows = load_embedder(str(tiny_labse)).encode(TEXTS)
    assert rows.shape == (len(TEXTS), 32)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("setting", ["lexical", "model"])
def test_no_texts_give_no_rows(setting: str, tiny_labse: Path) -> None:
    assert len(load_embedder(setting if setting == "lexical" else str(tiny_labse)).encode([])) == 0


def test_labse_that_is_not_on_the_machine_is_named_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelMissingError, match=f"hf download sentence-transformers/LaBSE --revision {LABSE_REVISION}"):
        check_embedder("labse")


def personas(*texts: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "persona_id": [f"p{n}" for n in range(len(texts))],
            "persona": texts,
            "hop": [0] * len(texts),
            "language_score": [0.9] * len(texts),
        }
    )


def test_both_stages_name_the_persona_kept_in_place_of_each_duplicate(tiny_labse: Path) -> None:
    nurse = "Una enfermera que trabaja de noche en un consultorio rural y estudia para matrona"
    outcome = deduplicate(
        personas(nurse, nurse.replace("estudia", "se prepara"), "Un pescador jubilado de la costa de Chile", nurse),
        language("es"),
        load_embedder(str(tiny_labse)),
        # Random weights put all texts close together: only equality counts as a duplicate.
        DedupSettings(embedder=str(tiny_labse), cosine=0.99999),
    )
    assert outcome.duplicates.select("loser_id", "winner_id", "method").rows() == [
        ("p1", "p0", "minhash"),
        ("p3", "p0", "minhash"),
    ]
    assert outcome.kept["persona_id"].to_list() == ["p0", "p2"]
    assert set(outcome.edges["method"]) == {"minhash", "embedding"}


def test_a_duplicate_by_embedding_alone_is_dropped_in_the_second_stage() -> None:
    # Inflected otherwise, hardly a word is the same, but most of their letters are.
    singular = "Panadera madrugadora del pueblecito montañoso, aficionada a la cerámica esmaltada"
    plural = "Panaderas madrugadoras de pueblecitos montañosos, aficionadas a las cerámicas esmaltadas"
    outcome = deduplicate(
        personas(singular, plural),
        language("es"),
        load_embedder("lexical"),
        DedupSettings(embedder="lexical", cosine=0.65, cosine_floor=0.5),
    )
    assert outcome.duplicates.select("loser_id", "method").rows() == [("p1", "embedding")]


def test_a_surer_language_and_a_shorter_way_to_a_document_stay() -> None:
    text = "Una enfermera que trabaja de noche en un consultorio rural"
    frame = personas(text, text, text).with_columns(
        hop=pl.Series([1, 0, 0]), language_score=pl.Series([0.99, 0.8, 0.95])
    )
    outcome = deduplicate(frame, language("es"), load_embedder("lexical"), DedupSettings(embedder="lexical"))
    assert outcome.kept["persona_id"].to_list() == ["p2"]


def test_no_personas_give_no_duplicates_but_all_columns() -> None:
    outcome = deduplicate(personas(), language("es"), load_embedder("lexical"), DedupSettings(embedder="lexical"))
    assert (outcome.kept.height, outcome.duplicates.height, outcome.edges.height) == (0, 0, 0)

"""The embedding cache: a text is encoded once per model, whatever happens in between."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from persona_assets.dedup import cache
from persona_assets.dedup.cache import CachedEmbedder, EmbeddingCacheError, Progress, cache_file
from persona_assets.dedup.embedders import Embedder, SentenceTransformerEmbedder, embedder_name, load_embedder

TEXTS = ["Una enfermera de noche", "看夜班的护士", "ممرضة ليلية", "🙂", "", "a" * 5000, "\ud800"]


class Recording:
    """The lexical embedder, with a note of what it was asked to encode."""

    name = "recording@1"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._inner = load_embedder("lexical")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return self._inner.encode([text.encode("utf-8", "replace").decode() for text in texts])[:, :64]


def refuse() -> Embedder:
    raise AssertionError("the model was loaded although every text is known")


def test_a_rerun_loads_no_model_and_gives_the_same_bits(tmp_path: Path) -> None:
    first = CachedEmbedder("m@1", Recording, tmp_path).encode(TEXTS)
    again = CachedEmbedder("m@1", refuse, tmp_path).encode([*reversed(TEXTS), TEXTS[0]])
    assert again.tobytes() == np.concatenate([first[::-1], first[:1]]).tobytes()


def test_only_new_texts_are_encoded_once_each_and_longest_first(tmp_path: Path) -> None:
    model = Recording()
    CachedEmbedder("m@1", lambda: model, tmp_path).encode(["bb", "old"])
    model.asked.clear()
    CachedEmbedder("m@1", lambda: model, tmp_path).encode(["c", "bb", "dddd", "c", "old", "eee"])
    assert model.asked == ["dddd", "eee", "c"]


def test_the_real_model_gives_the_rows_it_gives_without_a_cache(tiny_labse: Path, tmp_path: Path) -> None:
    name = embedder_name(str(tiny_labse))
    cached = CachedEmbedder(name, lambda: load_embedder(str(tiny_labse)), tmp_path).encode(TEXTS[:4])
    np.testing.assert_allclose(cached, load_embedder(str(tiny_labse)).encode(TEXTS[:4]), atol=1e-5)


def test_models_and_revisions_share_no_rows(tmp_path: Path) -> None:
    CachedEmbedder("m@1", Recording, tmp_path).encode(["a"])
    other = Recording()
    CachedEmbedder("m@2", lambda: other, tmp_path).encode(["a"])
    assert other.asked == ["a"]


def test_a_folder_is_named_by_its_weights_wherever_it_lies(tiny_labse: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / tiny_labse.name
    shutil.copytree(tiny_labse, copy)
    assert (
        embedder_name(str(copy)) == embedder_name(str(tiny_labse)) == SentenceTransformerEmbedder(str(copy), None).name
    )
    weights = next(copy.rglob("2_Dense/model.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1  # trained on: one bit of the last layer, the file as long as before
    weights.write_bytes(data)
    assert embedder_name(str(copy)) != embedder_name(str(tiny_labse))


def test_a_hub_name_without_a_revision_is_named_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "models--team--model"
    (repository / "snapshots" / "abc123").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert embedder_name("team/model") == embedder_name("team/model", "main") == "team/model@abc123"


def test_no_texts_load_no_model(tmp_path: Path) -> None:
    assert len(CachedEmbedder("m@1", refuse, tmp_path).encode([])) == 0


def test_a_broken_row_is_given_but_not_kept(tmp_path: Path) -> None:
    class Broken(Recording):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            rows = super().encode(texts)
            rows[[text == "bad" for text in texts], 3] = np.nan
            return rows

    assert np.isnan(CachedEmbedder("m@1", Broken, tmp_path).encode(["good", "bad"])[1]).any()
    mended = Recording()
    assert np.isfinite(CachedEmbedder("m@1", lambda: mended, tmp_path).encode(["good", "bad"])).all()
    assert mended.asked == ["bad"]


def encode_and_die(folder: Path) -> None:
    class Dying(Recording):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if len(self.asked) >= 12:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().encode(texts)

    cache.ENCODED_AT_ONCE = 4
    CachedEmbedder("m@1", Dying, folder).encode([f"text {n:02}" for n in range(40)])


def test_after_kill_9_what_was_encoded_is_not_encoded_again(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=encode_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    model = Recording()
    CachedEmbedder("m@1", lambda: model, tmp_path).encode([f"text {n:02}" for n in range(40)])
    assert model.asked == [f"text {n:02}" for n in range(12, 40)]


def encode_many(folder: Path, first: int) -> None:
    cache.ENCODED_AT_ONCE = 8
    CachedEmbedder("m@1", Recording, folder).encode([f"text {n}" for n in range(first, first + 200)])


def test_processes_that_share_a_file_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=encode_many, args=(tmp_path, first)) for first in (0, 100, 200)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(CachedEmbedder("m@1", refuse, tmp_path).encode([f"text {n}" for n in range(400)])) == 400


def test_progress_counts_up_to_the_total_and_estimates_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "ENCODED_AT_ONCE", 2)
    CachedEmbedder("m@1", Recording, tmp_path).encode(["known"])
    told: list[tuple[int, int, bool, str]] = []

    def note(progress: Progress) -> None:
        told.append((progress.cached, progress.encoded, progress.eta_s is None, progress.line()))

    CachedEmbedder("m@1", Recording, tmp_path, note).encode(["known", "a", "bb", "ccc", "a"])
    assert [entry[:3] for entry in told] == [(1, 0, True), (1, 2, False), (1, 3, False)]
    assert told[-1][3].startswith("embeddings: 4/4 done, 1 from the cache, 3 encoded")


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    cache_file(tmp_path, "m@1").write_bytes(b"no database at all" * 100)
    with pytest.raises(EmbeddingCacheError, match="delete it"):
        CachedEmbedder("m@1", Recording, tmp_path).encode(["a"])


def test_another_width_than_the_files_is_refused(tmp_path: Path) -> None:
    CachedEmbedder("m@1", Recording, tmp_path).encode(["a"])
    with sqlite3.connect(cache_file(tmp_path, "m@1")) as connection:
        connection.execute("update model set dimensions = 3")
        connection.execute("delete from vectors")
    connection.close()
    with pytest.raises(EmbeddingCacheError, match="delete the file"):
        CachedEmbedder("m@1", Recording, tmp_path).encode(["a"])

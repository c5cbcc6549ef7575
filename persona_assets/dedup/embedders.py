"""Turning personas into unit vectors: LaBSE through sentence-transformers, or a lexical stand-in."""

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from persona_assets.errors import ModelMissingError
from persona_assets.hub import commit_of, snapshots_folder

LABSE = "sentence-transformers/LaBSE"
# Pinned because the maximum length changed between revisions of the hub repository (256 and 512 tokens).
LABSE_REVISION = "836121a0533e5664b21c7aacc5d22951f2b8b25b"
LEXICAL_DIMENSIONS = 4096


class Embedder(Protocol):
    """Encodes texts."""

    @property
    def name(self) -> str:
        """The model and its revision; models of one name encode alike."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as unit rows of shape (texts, dimensions)."""
        ...


class LexicalEmbedder:
    """Hashed character n-grams (2 to 4, within words): sees shared wording, not shared meaning.

    A stand-in for LaBSE where no model may be downloaded; paraphrases in other words escape it.
    """

    name = "lexical-char-2-4"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as unit rows of shape (texts, 4096); a text without letters gives a zero row."""
        from sklearn.feature_extraction.text import HashingVectorizer

        if not texts:
            return np.empty((0, LEXICAL_DIMENSIONS), np.float32)
        vectorizer = HashingVectorizer(
            analyzer="char_wb",
            ngram_range=(2, 4),
            n_features=LEXICAL_DIMENSIONS,
            alternate_sign=False,
            norm="l2",
            dtype=np.float32,
        )
        rows: NDArray[np.float32] = vectorizer.transform(texts).toarray()
        return rows


class SentenceTransformerEmbedder:
    """Any sentence-transformers model; LaBSE (Feng et al., 2020) by default."""

    def __init__(self, model: str, revision: str | None) -> None:
        from sentence_transformers import SentenceTransformer

        self._source = (model, revision)
        self._model: Any = SentenceTransformer(model, revision=revision, local_files_only=True)

    @cached_property
    def name(self) -> str:
        """The model and its revision, or a hash of its files (see `embedder_name`)."""
        return _name(*self._source)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as unit rows of shape (texts, dimensions)."""
        if not texts:
            return np.empty((0, self._model.get_embedding_dimension()), np.float32)
        rows: NDArray[np.float32] = self._model.encode(
            list(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return rows.astype(np.float32, copy=False)


def check_embedder(setting: str, revision: str | None = None) -> str:
    """Make sure the embedder of a profile can be loaded here, without loading it; returns what it is.

    Args:
        setting: `lexical`, `labse`, a folder, or a hub name.
        revision: of a hub name.

    Raises:
        ModelMissingError: a package or the weights are missing; the message says how to get them.
    """
    if setting == "lexical":
        return LexicalEmbedder.name
    if importlib.util.find_spec("sentence_transformers") is None:
        raise ModelMissingError(
            "embeddings need sentence-transformers: pip install torch 'persona-assets[labse]',"
            ' or set dedup.embedder to "lexical"'
        )
    model, pinned = _resolve(setting, revision)
    if Path(model).expanduser().is_dir():
        return model
    # Without a revision, any snapshot will do.
    snapshots = snapshots_folder(model)
    if not (snapshots / pinned if pinned else snapshots).is_dir():
        wanted = f" --revision {pinned}" if pinned else ""
        raise ModelMissingError(
            f"the embedding model {model} is not on this machine: hf download {model}{wanted},"
            " or set dedup.embedder to the folder of a copy"
        )
    return model


def embedder_name(setting: str, revision: str | None = None) -> str:
    """The name that the embedder of a profile will have, without loading it.

    A hub model is named by its commit, a folder by a hash of its files: trained anew, it is another.
    See `check_embedder` for arguments and errors.
    """
    check_embedder(setting, revision)
    return LexicalEmbedder.name if setting == "lexical" else _name(*_resolve(setting, revision))


def load_embedder(setting: str, revision: str | None = None) -> Embedder:
    """Load the embedder of a profile; see `check_embedder` for arguments and errors."""
    check_embedder(setting, revision)
    if setting == "lexical":
        return LexicalEmbedder()
    return SentenceTransformerEmbedder(*_resolve(setting, revision))


def _resolve(setting: str, revision: str | None) -> tuple[str, str | None]:
    if setting == "labse":
        return LABSE, revision or LABSE_REVISION
    if Path(setting).expanduser().is_dir():
        return str(Path(setting).expanduser()), None
    return setting, commit_of(setting, revision)


def _name(model: str, revision: str | None) -> str:
    folder = Path(model)
    if folder.is_dir():
        return f"{folder.resolve().name}@{_content(folder)}"
    return f"{model}@{revision}" if revision else model


def _content(folder: Path) -> str:
    """Hash every file of a model; all bytes, as a model trained further may differ in its last layer alone."""
    state = blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and path.suffix != ".md" and not any(part.startswith(".") for part in parts):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "blake2b").digest()
            state.update("/".join(parts).encode() + b"\0" + content)
    return state.hexdigest()

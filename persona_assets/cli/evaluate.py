"""Commands that measure a model on labelled data."""

from pathlib import Path

import click

from persona_assets.cli.options import json_option
from persona_assets.cli.terminal import print_json, print_table
from persona_assets.filters.evaluation import Evaluation, evaluate, read_labelled
from persona_assets.filters.language_id import load_identifier

CONFUSIONS_SHOWN = 15
SCORE_COLUMNS = {
    "lang": "language",
    "support": "texts",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "accepted": "kept by the filter",
    "intruders": "others kept as it",
}
CONFUSION_COLUMNS = {"label": "labelled", "detected": "detected", "texts": "texts", "accepted": "at the threshold"}


@click.group("evaluate")
def evaluation() -> None:
    """Measure a model on labelled data."""


@evaluation.command("language-id")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--model", metavar="MODEL", default="glotlid", show_default=True, help="glotlid, lid176, or a file.")
@click.option(
    "--labels",
    type=click.Choice(["glotlid", "lid176"]),
    default="glotlid",
    show_default=True,
    help="Label set of a model given by its file.",
)
@click.option("--text", metavar="COLUMN", default="text", show_default=True, help="Column of the texts.")
@click.option("--label", metavar="COLUMN", default="lang", show_default=True, help="Column of their languages.")
@click.option("--where", metavar="COLUMN=VALUE,...", help="Only rows with one of these values, such as subset=ntrex.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Score at which the filter keeps a text.",
)
@json_option
def language_id(
    file: Path,
    model: str,
    labels: str,
    text: str,
    label: str,
    where: str | None,
    threshold: float,
    as_json: bool,
) -> None:
    """Say how well a language identification model does on FILE, per language of the platform.

    FILE is JSON Lines (also .gz), Parquet or CSV with a text and a language in each row: ISO 639-1 or
    639-3, a GlotLID or lid.176 label, or an alias in languages.toml. A model judged on the corpus it
    was trained on (GlotLID: Tatoeba, among others) looks better than it is.
    """
    identifier = load_identifier(model, "lid176" if labels == "lid176" else "glotlid")
    found = evaluate(read_labelled(file, text=text, label=label, where=_condition(where)), identifier, threshold)
    if as_json:
        print_json({"model": identifier.name, **found.facts()})
    else:
        _print(found, identifier.name)


def _condition(text: str | None) -> tuple[str, list[str]] | None:
    if text is None:
        return None
    column, separator, values = text.partition("=")
    if not separator:
        raise click.UsageError(f"--where {text!r}: write COLUMN=VALUE, such as subset=ntrex,udhr")
    return column, values.split(",")


def _print(found: Evaluation, model: str) -> None:
    scores = [vars(score) for score in found.scores]
    print_table(scores, SCORE_COLUMNS, title=f"{model} on {found.texts} texts, threshold {found.threshold:g}")
    click.echo("A text of the filter's own language is kept when it is detected as such with a score at the threshold.")
    shown = found.confusions.head(CONFUSIONS_SHOWN).to_dicts()
    if shown:
        print_table(shown, CONFUSION_COLUMNS, title="What is taken for what, most frequent first")

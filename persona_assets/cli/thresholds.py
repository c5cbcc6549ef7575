"""The command that shows what other thresholds would leave."""

from pathlib import Path
from typing import Any

import click

from persona_assets.cli.options import home_option, json_option
from persona_assets.cli.terminal import print_json, print_table
from persona_assets.home import home_of
from persona_assets.languages import language
from persona_assets.report.threshold_plot import draw
from persona_assets.report.thresholds import Stage, stages
from persona_assets.warehouse import Warehouse

BAR_CELLS = 30
FINE_STEP = 0.01
COLUMNS = {
    "threshold": "threshold",
    "pairs": "pairs",
    "dropped": "dropped",
    "survivors": "survivors",
    "recall": "pair recall",
    "bar": "share that survives",
}


@click.command()
@click.argument("lang", metavar="LANG")
@click.option("--step", type=click.FloatRange(0.001, 0.5), default=0.05, show_default=True, help="Of the thresholds.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the curves to this .svg file.")
@home_option
@json_option
def thresholds(lang: str, step: float, plot: Path | None, home: str | None, as_json: bool) -> None:
    """Show how many personas of LANG would survive other deduplication thresholds.

    Nothing is computed but the cut: the similar pairs are stored down to a floor below the threshold.
    To put a threshold in force: run --select deduped_personas --set dedup.cosine=0.9
    """
    if plot and plot.suffix.lower() != ".svg":
        raise click.UsageError(f"--plot {plot}: the plot is an SVG drawing; name a file that ends in .svg")
    code, store = language(lang).code, Warehouse(home_of(home).warehouse)
    found = stages(store, code, step=step)
    if plot:
        plot.write_text(draw(stages(store, code, step=min(step, FINE_STEP)), code), encoding="utf-8")
        click.echo(f"plot written to {plot}", err=True)
    if as_json:
        print_json([stage.facts() for stage in found])
        return
    for stage in found:
        title = f"{stage.method} ({stage.knob}): {stage.personas} personas come in, {stage.current:g} is in force"
        print_table([_row(row, stage) for row in stage.rows()], COLUMNS, title=title)


def _row(row: dict[str, Any], stage: Stage) -> dict[str, Any]:
    share = row["survivors"] / stage.personas if stage.personas else 1.0
    bar = "█" * round(share * BAR_CELLS) + f" {share:.1%}" + ("  ◀ in force" if row["current"] else "")
    return {**row, "bar": bar}

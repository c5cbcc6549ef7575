"""Survivors against threshold, drawn as SVG: one panel per stage, the threshold in force marked."""

from collections.abc import Sequence
from html import escape

from persona_assets.report.thresholds import Stage

WIDTH, HEIGHT = 420, 260
LEFT, TOP, RIGHT, BOTTOM = 64, 46, 20, 46
TICKS = 5
TITLES = {"minhash": "MinHash: Jaccard of shingles", "embedding": "Embeddings: cosine, of what MinHash keeps"}


def draw(stages: Sequence[Stage], lang: str) -> str:
    """Draw the stages side by side; the vertical axis starts at 0, so that heights can be compared."""
    panels = "".join(_panel(stage, place * WIDTH) for place, stage in enumerate(stages))
    width = WIDTH * len(stages)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}"'
        ' font-family="sans-serif" font-size="11" fill="#222">'
        f"<title>Survivors against threshold, {escape(lang)}</title>"
        f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>{panels}</svg>\n'
    )


def _panel(stage: Stage, offset: int) -> str:
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    most, span = max(stage.personas, 1), max(1.0 - stage.floor, 1e-9)

    def x(threshold: float) -> float:
        return offset + LEFT + (threshold - stage.floor) / span * inner_width

    def y(count: float) -> float:
        return TOP + (1.0 - count / most) * inner_height

    line = " ".join(f"{x(cut.threshold):.1f},{y(cut.survivors):.1f}" for cut in stage.cuts)
    here = next(cut for cut in stage.cuts if cut.threshold == stage.current)
    parts = [
        _text(offset + LEFT, 18, TITLES[stage.method], weight="bold"),
        _text(offset + LEFT, 33, f"{stage.personas:,} personas come in", colour="#666"),
    ]
    for tick in range(TICKS):
        count, threshold = most * tick / (TICKS - 1), stage.floor + span * tick / (TICKS - 1)
        parts += [
            f'<path d="M{x(stage.floor):.1f} {y(count):.1f}H{x(1.0):.1f}" stroke="#ddd"/>',
            _text(offset + LEFT - 6, y(count) + 4, f"{count:,.0f}", anchor="end"),
            _text(x(threshold), HEIGHT - BOTTOM + 16, f"{threshold:.3g}", anchor="middle"),
        ]
    return "".join(
        [
            *parts,
            f'<path d="M{x(here.threshold):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#c33" stroke-dasharray="4 3"/>',
            f'<polyline points="{line}" fill="none" stroke="#236" stroke-width="2"/>',
            f'<circle cx="{x(here.threshold):.1f}" cy="{y(here.survivors):.1f}" r="4" fill="#c33"/>',
            _text(
                offset + LEFT + inner_width / 2,
                HEIGHT - 10,
                f"{stage.knob}; now {here.threshold:g}: {here.survivors:,} survive",
                anchor="middle",
                colour="#c33",
            ),
        ]
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#222", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )

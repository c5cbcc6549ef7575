"""The dataset card: YAML that names the configurations, and the funnel of every language."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from persona_assets.languages import language
from persona_assets.publish.dataset import exported_languages, write_atomically
from persona_assets.report.funnel import FUNNEL_COLUMNS
from persona_assets.settings import Profile
from persona_assets.warehouse import Warehouse

_TEMPLATE = Path(__file__).parent / "card.md"


def write_card(warehouse: Warehouse, folder: Path, profile: Profile) -> Path:
    """Write the card of everything exported to `folder` so far; returns its path."""
    exported = exported_languages(folder)
    funnel = {row["lang"]: row for row in warehouse.query("from funnel").to_dicts()}
    licenses = warehouse.query("select distinct license from seed_documents where license is not null order by all")
    rows = [funnel[code] for code in exported if code in funnel]
    card = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        languages="\n".join(f"- {code}" for code in exported),
        configs="\n".join(_configs(exported)),
        names=", ".join(f"{language(code).name} (`{code}`)" for code in exported),
        first=exported[0] if exported else "es",
        funnel="\n".join(_funnel_table(rows)),
        seed_licenses=", ".join(licenses["license"].to_list()) or "not stated by the source",
        profile=profile.name,
        model=profile.llm.model,
        language_model=profile.filters.language_model,
        language_score=profile.filters.min_language_score,
        jaccard=profile.dedup.jaccard,
        permutations=profile.dedup.permutations,
        embedder=profile.dedup.embedder,
        cosine=profile.dedup.cosine,
        size=_size_category(sum(row["conversations"] for row in rows)),
    )
    path = folder / "README.md"
    write_atomically(path, card.encode())
    return path


def _configs(exported: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for code in exported:
        for name, file in ((code, "conversations"), (f"{code}-personas", "personas")):
            lines += [
                f"- config_name: {name}",
                "  data_files:",
                "  - split: train",
                f"    path: {code}/{file}.parquet",
            ]
    return lines


def _funnel_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    head = "| language | " + " | ".join(FUNNEL_COLUMNS.values()) + " |"
    rule = "|---|" + "---:|" * len(FUNNEL_COLUMNS)
    return [head, rule, *(_funnel_line(row) for row in rows)]


def _funnel_line(row: Mapping[str, Any]) -> str:
    return f"| {row['lang']} | " + " | ".join(str(row[column]) for column in FUNNEL_COLUMNS) + " |"


def _size_category(rows: int) -> str:
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for bound, name in bounds if rows < bound), "n>1M")

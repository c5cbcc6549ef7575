"""Where a team's work lives: the database, the ledger, the exports and Dagster's history."""

import os
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "PERSONA_ASSETS_HOME"
PROFILE_VARIABLE = "PERSONA_ASSETS_PROFILE"
DEFAULT_HOME = "data"


@dataclass(frozen=True)
class Home:
    """The folder of one body of work; everything in it but the ledger can be made again for free."""

    path: Path

    @property
    def warehouse(self) -> Path:
        """The DuckDB file."""
        return self.path / "personas.duckdb"

    @property
    def ledger(self) -> Path:
        """The folder of the answer ledger."""
        return self.path / "ledger"

    @property
    def dataset(self) -> Path:
        """The folder of the exported dataset."""
        return self.path / "dataset"

    @property
    def embeddings(self) -> Path:
        """The folder of the cached embeddings, one file per model."""
        return self.path / "embeddings"

    @property
    def dagster(self) -> Path:
        """The folder of Dagster's run history."""
        return self.path / "dagster"


def home_of(path: str | Path | None = None) -> Home:
    """The home at `path`, else of the environment variable, else `data` in the current folder."""
    return Home(Path(path or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().resolve())

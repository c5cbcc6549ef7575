"""The profile and the home of a run, as one Dagster resource."""

from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from pydantic import Field

from persona_assets.home import Home
from persona_assets.settings import Profile, load_profile


class RunSettings(ConfigurableResource):  # type: ignore[type-arg]
    """Which profile a run follows, and where its data lives."""

    profile: str = Field(description="a bundled profile by name, or the path of your own")
    home: str = Field(description="folder of the database, the ledger and the exports")
    overrides: dict[str, Any] = Field(default={}, description='single knobs by dotted key, such as {"seeds.limit": 10}')

    def load(self) -> Profile:
        """Load and validate the effective profile."""
        return load_profile(self.profile, self.overrides)

    def at(self) -> Home:
        """The home of the run."""
        return Home(Path(self.home))

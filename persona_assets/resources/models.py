"""The models of a run as Dagster resources, each loaded when first used."""

from dagster import ConfigurableResource, ResourceDependency

from persona_assets.dedup.embedders import Embedder, load_embedder
from persona_assets.filters.language_id import LanguageIdentifier, load_identifier
from persona_assets.llm.model import LanguageModel
from persona_assets.resources.run_settings import RunSettings


class LanguageModelResource(ConfigurableResource):  # type: ignore[type-arg]
    """The language model of the profile. Its key is read from the environment when it is asked."""

    settings: ResourceDependency[RunSettings]

    def open(self) -> LanguageModel:
        """The model, with the ledger of the run's home."""
        profile = self.settings.load()
        return LanguageModel(profile.llm, self.settings.at().ledger, profile.budget)


class LanguageIdResource(ConfigurableResource):  # type: ignore[type-arg]
    """The language identification model of the profile."""

    settings: ResourceDependency[RunSettings]

    def open(self) -> LanguageIdentifier:
        """Load the model."""
        filters = self.settings.load().filters
        return load_identifier(filters.language_model, filters.language_labels)


class EmbedderResource(ConfigurableResource):  # type: ignore[type-arg]
    """The embedding model of the profile."""

    settings: ResourceDependency[RunSettings]

    def open(self) -> Embedder:
        """Load the model."""
        dedup = self.settings.load().dedup
        return load_embedder(dedup.embedder, dedup.revision)

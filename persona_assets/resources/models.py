"""The models of a run as Dagster resources, each loaded when first used."""

from dataclasses import dataclass
from typing import Any

from dagster import ConfigurableResource, ResourceDependency

from persona_assets.dedup.cache import CachedEmbedder, Progress
from persona_assets.dedup.embedders import Embedder, LexicalEmbedder, embedder_name, load_embedder
from persona_assets.filters.language_id import LanguageIdentifier, load_identifier
from persona_assets.llm.model import LanguageModel
from persona_assets.llm.progress import Standing, current_reporter
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

    def open(self, lang: str) -> Embedder:
        """The model, with the cache of the run's home; loaded when a text is new.

        The lexical embedder is not cached: it is as fast as the cache.
        """
        dedup = self.settings.load().dedup
        name = embedder_name(dedup.embedder, dedup.revision)
        if name == LexicalEmbedder.name:
            return LexicalEmbedder()
        told = current_reporter()

        def on_progress(progress: Progress) -> None:
            standing = Labelled(lang, progress)
            (told.update if progress.chars_left else told.finish)(standing)

        return CachedEmbedder(
            name, lambda: load_embedder(dedup.embedder, dedup.revision), self.settings.at().embeddings, on_progress
        )


@dataclass(frozen=True)
class Labelled:
    """Where a piece of work of one language stands."""

    lang: str
    standing: Standing

    def line(self) -> str:
        """One line for a log or a terminal."""
        return f"{self.lang} {self.standing.line()}"

    def facts(self) -> dict[str, Any]:
        """The same as `line`, for programs."""
        return {"lang": self.lang, **self.standing.facts()}

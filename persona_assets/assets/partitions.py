"""One partition per language."""

from dagster import StaticPartitionsDefinition

from persona_assets.languages import languages

LANGUAGES = StaticPartitionsDefinition(list(languages()))

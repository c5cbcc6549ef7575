"""The code location: every asset, check and resource, and nothing else."""

import os
from collections.abc import Mapping

from dagster import AssetsDefinition, Definitions, in_process_executor

from persona_assets import checks
from persona_assets.assets.conversations import ask_for_conversations
from persona_assets.assets.deduplication import deduplicate_personas
from persona_assets.assets.filtering import filter_personas
from persona_assets.assets.personas import ask_for_personas
from persona_assets.assets.publication import dataset
from persona_assets.assets.seeds import prompt_packs, select_seeds
from persona_assets.home import PROFILE_VARIABLE, home_of
from persona_assets.resources.models import EmbedderResource, LanguageIdResource, LanguageModelResource
from persona_assets.resources.run_settings import RunSettings
from persona_assets.resources.warehouse import WarehouseResource
from persona_assets.settings import DEFAULT_PROFILE, Profile

ASSETS = (
    select_seeds,
    ask_for_personas,
    filter_personas,
    deduplicate_personas,
    ask_for_conversations,
    dataset,
)

_LLM = ("llm.model", "llm.temperature", "llm.top_p", "llm.max_tokens", "llm.structured_output", "llm.reask")

# The knobs each asset reads: a change of one makes that asset stale, and no other directly.
KNOBS: Mapping[str, tuple[str, ...]] = {
    "select_seeds": ("seeds",),
    "ask_for_personas": ("personas", "expansion", *_LLM),
    "filter_personas": ("filters",),
    "deduplicate_personas": ("dedup",),
    "ask_for_conversations": ("conversations", *_LLM),
    "dataset": (),
}
# Raised by hand when the code of an asset changes what it makes of the same input.
CODE_VERSION = "1"


def versioned_assets(profile: Profile) -> list[AssetsDefinition]:
    """The assets, each with a code version that covers the knobs it reads."""
    return [_versioned(asset, profile) for asset in ASSETS]


def _versioned(asset: AssetsDefinition, profile: Profile) -> AssetsDefinition:
    knobs = KNOBS[asset.op.name]
    version = f"{CODE_VERSION}-{profile.fingerprint(*knobs)}" if knobs else CODE_VERSION
    return asset.map_asset_specs(lambda spec: spec.replace_attributes(code_version=version))


def resources(settings: RunSettings) -> dict[str, object]:
    """The resources of a run."""
    return {
        "settings": settings,
        "warehouse": WarehouseResource(database=str(settings.at().warehouse)),
        "llm": LanguageModelResource(settings=settings),
        "language_id": LanguageIdResource(settings=settings),
        "embedder": EmbedderResource(settings=settings),
    }


def build_definitions(settings: RunSettings) -> Definitions:
    """Wire the platform for a profile and a home."""
    return Definitions(
        assets=[prompt_packs, *versioned_assets(settings.load())],
        asset_checks=checks.CHECKS,
        resources=resources(settings),
        executor=in_process_executor,
    )


defs = build_definitions(
    RunSettings(profile=os.environ.get(PROFILE_VARIABLE, DEFAULT_PROFILE), home=str(home_of().path))
)

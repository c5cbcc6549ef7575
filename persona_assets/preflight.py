"""What can be known to go wrong before the first document is read or the first request paid for."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from persona_assets.dedup.embedders import check_embedder
from persona_assets.errors import PersonaAssetsError
from persona_assets.filters.language_id import locate_model
from persona_assets.generation.packs import PACKS_FOLDER, load_pack
from persona_assets.home import Home
from persona_assets.languages import languages
from persona_assets.llm.endpoint import endpoint_of
from persona_assets.llm.engines.vllm_weights import check_vllm
from persona_assets.llm.probe import model_listed
from persona_assets.settings import Profile

# Less than this, and not even the demo ends well.
LOW_DISK_BYTES = 50 * 2**20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is fine, and what was found or what to do."""

    what: str
    ok: bool
    detail: str


def examine(profile: Profile, home: Home, codes: Sequence[str]) -> list[Finding]:
    """Look at everything a run of this profile needs on this machine; asks no endpoint."""
    probes: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("disk", lambda: _disk(home)),
        ("prompt packs", lambda: _packs(profile, codes)),
        ("language identification", lambda: str(_language_model(profile))),
        ("embeddings", lambda: check_embedder(profile.dedup.embedder, profile.dedup.revision)),
        ("endpoint and key", lambda: _endpoint(profile)),
    ]
    return [_probe(what, look) for what, look in probes]


def ask_endpoint(profile: Profile) -> Finding:
    """Ask the endpoint which models it has, which costs nothing: is it there, does it take the key?"""
    if profile.llm.engine not in ("openai", "openai_batch"):
        return Finding("answer of the endpoint", ok=True, detail="not needed")
    return _probe("answer of the endpoint", lambda: model_listed(profile.llm))


def require(profile: Profile, home: Home, codes: Sequence[str]) -> None:
    """Stop before any work where something a run needs is missing.

    Raises:
        PersonaAssetsError: the first finding that is not fine, with what to do.
    """
    for finding in examine(profile, home, codes):
        if not finding.ok:
            raise PersonaAssetsError(finding.detail)


def _probe(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, ok=True, detail=look())
    except PersonaAssetsError as error:
        return Finding(what, ok=False, detail=str(error))


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"


def _disk(home: Home) -> str:
    existing = next(folder for folder in (home.path, *home.path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    probe = existing / ".persona-assets-write-test"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PersonaAssetsError(
            f"{existing} cannot be written ({error.strerror}): choose a folder with --home"
        ) from None
    if free < LOW_DISK_BYTES:
        raise PersonaAssetsError(f"only {free / 2**20:.0f} MiB free under {existing}: free some space or choose --home")
    return f"{free / 2**30:.0f} GiB free under {existing}"


def _packs(profile: Profile, codes: Sequence[str]) -> str:
    versions = [f"{code} {load_pack(code, profile.packs_folder(PACKS_FOLDER)).version}" for code in codes]
    return ", ".join(versions) if versions else f"none asked for; languages are {', '.join(languages())}"


def _language_model(profile: Profile) -> Path:
    return locate_model(profile.filters.language_model, profile.filters.language_labels)[0]


def _endpoint(profile: Profile) -> str:
    if profile.llm.engine == "replay":
        return "not needed: answers come from the ledger alone"
    if profile.llm.engine == "vllm":
        return check_vllm(profile.llm)
    endpoint = endpoint_of(profile.llm)
    keyed = "set" if endpoint.api_key != "no-key" else "not set (fine for most local servers)"
    return f"{profile.llm.model} at {endpoint.base_url}, {endpoint.key_variable} is {keyed}"

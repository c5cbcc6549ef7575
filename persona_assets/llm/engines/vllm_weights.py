"""Whether vLLM and the weights of its model are on this machine, found out without loading either."""

import importlib.util
import os
from pathlib import Path

from persona_assets.errors import ModelMissingError
from persona_assets.hub import snapshots_folder
from persona_assets.settings import LlmSettings


def check_vllm(settings: LlmSettings) -> str:
    """Make sure that `engine = "vllm"` can load its model here; returns what would be loaded.

    Raises:
        ModelMissingError: the package or the weights are missing; the message says how to get them.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ModelMissingError(
            "llm.engine is \"vllm\", and vLLM is not installed: pip install 'persona-assets[vllm]',"
            ' or run `vllm serve` elsewhere and set llm.engine to "openai" and llm.base_url to its address'
        )
    return f"{settings.model} in this process, from {locate_weights(settings)}"


def locate_weights(settings: LlmSettings) -> Path:
    """The folder of the model's files: a folder given as such, or what the Hugging Face cache holds of a hub name.

    Raises:
        ModelMissingError: neither is there.
    """
    name = settings.vllm.path or settings.model
    folder = Path(name).expanduser()
    if folder.is_dir():
        if (folder / "config.json").is_file():
            return folder
        raise ModelMissingError(f"the folder {folder} holds no model: it has no config.json; set llm.vllm.path")
    if settings.vllm.path and (folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1):
        raise ModelMissingError(f"llm.vllm.path is {name}, and there is no such folder")
    snapshot = _snapshot(name, settings.vllm.revision)
    if snapshot is None:
        wanted = f" --revision {settings.vllm.revision}" if settings.vllm.revision else ""
        raise ModelMissingError(
            f"the model {name} is not on this machine: hf download {name}{wanted},"
            " or set llm.vllm.path to the folder of a copy"
        )
    return snapshot


def _snapshot(repository: str, revision: str | None) -> Path | None:
    snapshots = snapshots_folder(repository)
    # `refs` maps branches and tags to commits; a commit names its snapshot itself.
    reference = snapshots.parent / "refs" / (revision or "main")
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    if commit is not None:
        found = [snapshots / commit]
    else:
        found = sorted(snapshots.glob("*"), key=os.path.getmtime, reverse=True)
    return next((folder for folder in found if (folder / "config.json").is_file()), None)

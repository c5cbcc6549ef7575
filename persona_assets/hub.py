"""Where the Hugging Face client keeps what it has downloaded, looked at without the client."""

import os
from pathlib import Path


def snapshots_folder(repository: str) -> Path:
    """The folder of a model's downloaded revisions, which may not exist; `repository` is `owner/name`."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    return hub / ("models--" + repository.replace("/", "--")) / "snapshots"


def commit_of(repository: str, revision: str | None) -> str | None:
    """The commit that a branch or tag (default: `main`) stood for when it was downloaded.

    `revision` itself where it is no name that the client has noted.
    """
    noted = snapshots_folder(repository).parent / "refs" / (revision or "main")
    return noted.read_text(encoding="utf-8").strip() if noted.is_file() else revision

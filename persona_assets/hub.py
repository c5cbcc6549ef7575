"""Where the Hugging Face client keeps what it has downloaded, looked at without the client."""

import os
from pathlib import Path


def snapshots_folder(repository: str) -> Path:
    """The folder of a model's downloaded revisions, which may not exist; `repository` is `owner/name`."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    return hub / ("models--" + repository.replace("/", "--")) / "snapshots"

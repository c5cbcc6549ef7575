"""Where the model answers and with which key, taken from the profile and the environment."""

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from persona_assets.errors import EndpointError
from persona_assets.settings import LlmSettings

OPENAI_URL = "https://api.openai.com/v1"
_KEY_LIKE = re.compile(r"\b(sk|key|Bearer)[-_ ][\w*.-]{6,}", re.IGNORECASE)


@dataclass(frozen=True)
class Endpoint:
    """A checked base URL and key. The key stays out of `repr`, logs and messages."""

    base_url: str
    api_key: str = field(repr=False)
    key_variable: str

    @property
    def host(self) -> str:
        """Host and port, for the ledger."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    def redact(self, text: str) -> str:
        """Take this key, and anything that looks like one, out of a message."""
        return _KEY_LIKE.sub("[key]", text.replace(self.api_key, "[key]"))


def endpoint_of(settings: LlmSettings) -> Endpoint:
    """Resolve the endpoint of a profile.

    A local or custom server often needs no key, so a missing key is an error only for hosted APIs
    named by an https URL; servers that want one after all answer 401, which names the variable.

    Raises:
        EndpointError: no key, a key with line breaks, or a base URL that is not http(s).
    """
    base_url = (settings.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).strip()
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise EndpointError(
            f"the base URL {base_url!r} is not an http(s) address: write it like http://localhost:8000/v1"
        )
    variable = settings.api_key_variable
    key = os.environ.get(variable, "")
    if key and (not key.isascii() or not key.isprintable() or key != key.strip()):
        raise EndpointError(f"{variable} contains a line break, a space or another character no key has: set it again")
    if not key and parts.scheme == "https":
        raise EndpointError(f"no key for {parts.netloc}: set {variable} in the environment or in .env")
    return Endpoint(base_url.rstrip("/"), key or "no-key", variable)

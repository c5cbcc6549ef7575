"""The engine that asks nobody: answers come from the ledger, or not at all."""

from persona_assets.errors import ReplayMissError
from persona_assets.llm.requests import Answer, Request


class ReplayEngine:
    """Serves only what the ledger holds; the driver counts what it does not."""

    asks = False

    async def ask(self, request: Request) -> Answer:
        """Refuse, as the driver never asks an engine that does not ask."""
        raise ReplayMissError(f"the replay engine cannot answer {request.key}")

    async def close(self) -> None:
        """Nothing to release."""

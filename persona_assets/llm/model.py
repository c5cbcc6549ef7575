"""The model of a profile: asks it through its engine, and keeps every answer in the ledger of a home."""

from collections.abc import Sequence
from pathlib import Path

from persona_assets.llm.driver import Drive, answer_all, outcomes
from persona_assets.llm.endpoint import endpoint_of
from persona_assets.llm.engines.base import Engine
from persona_assets.llm.engines.openai import OpenAIEngine
from persona_assets.llm.engines.replay import ReplayEngine
from persona_assets.llm.exchange import import_answers
from persona_assets.llm.ledger import open_ledger
from persona_assets.llm.progress import Tally
from persona_assets.llm.requests import Outcome, Request
from persona_assets.settings import LlmSettings

RECORDINGS_FOLDER = Path(__file__).parents[1] / "samples" / "answers"


class LanguageModel:
    """Answers requests; `tallies` tells of every stage asked so far."""

    def __init__(self, settings: LlmSettings, ledger_folder: Path) -> None:
        self._settings = settings
        self._ledger_folder = ledger_folder
        self.tallies: list[Tally] = []

    def ask(self, stage: str, lang: str, requests: Sequence[Request]) -> list[tuple[Request, Outcome]]:
        """Answer every request, from the ledger where it can, and pair each with its outcome in order.

        Raises:
            EndpointError: no request can succeed until the user changes something.
            LedgerError: another process uses this ledger.
            ReplayMissError: the engine may not ask, and answers are missing.
            TooManyFailuresError: more requests failed than the profile tolerates.
        """
        self._import_recordings(lang)
        asked = list(requests)
        with open_ledger(self._ledger_folder, stage, lang) as ledger:
            drive = Drive(ledger, self._engine(), self._settings, stage, lang)
            self.tallies.append(answer_all(asked, drive))
            return list(outcomes(asked, ledger))

    def _engine(self) -> Engine:
        if self._settings.engine == "replay":
            return ReplayEngine()
        return OpenAIEngine(self._settings, endpoint_of(self._settings))

    def _import_recordings(self, lang: str) -> None:
        setting = self._settings.recordings
        if setting is None:
            return
        path = RECORDINGS_FOLDER / f"{lang}.jsonl" if setting == "samples" else Path(setting.format(lang=lang))
        if path.is_file():
            import_answers(self._ledger_folder, path)

"""The model of a profile: asks it through its engine, and keeps every answer in the ledger of a home."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from persona_assets.llm.driver import Drive, answer_all, outcomes
from persona_assets.llm.endpoint import endpoint_of
from persona_assets.llm.engines.base import Engine
from persona_assets.llm.engines.replay import ReplayEngine
from persona_assets.llm.exchange import import_answers
from persona_assets.llm.ledger import open_ledger, read_ledger
from persona_assets.llm.prices import discounted
from persona_assets.llm.progress import Tally
from persona_assets.llm.requests import Outcome, Request
from persona_assets.llm.spending import Purse, Spending, run_spending
from persona_assets.settings import BudgetSettings, LlmSettings

RECORDINGS_FOLDER = Path(__file__).parents[1] / "samples" / "answers"


class LanguageModel:
    """Answers requests; `tallies` tells of every stage asked so far."""

    def __init__(
        self,
        settings: LlmSettings,
        ledger_folder: Path,
        budget: BudgetSettings | None = None,
        spending: Spending | None = None,
    ) -> None:
        self._settings = settings
        self._ledger_folder = ledger_folder
        # Other stages of the run spend from the same purse.
        self.spending = spending or run_spending()
        self._purse = Purse(budget or BudgetSettings(), discounted(settings), self.spending)
        self._imported: set[Path] = set()
        self.tallies: list[Tally] = []

    def ask(self, stage: str, lang: str, requests: Iterable[Request]) -> Iterator[tuple[Request, Outcome]]:
        """Answer every request, from the ledger where it can, and pair each with its outcome in order.

        When this returns, every request has its outcome in the ledger; the pairs are read as they are
        iterated. `requests` that can be iterated again are never held as a whole.

        Raises:
            BudgetReachedError: the next request might cost more than the budget has left.
            EndpointError: no request can succeed until the user changes something.
            LedgerError: another process uses this ledger.
            ReplayMissError: the engine may not ask, and answers are missing.
            TooManyFailuresError: more requests failed than the profile tolerates.
        """
        self._import_recordings(lang)
        asked = list(requests) if isinstance(requests, Iterator) else requests
        with open_ledger(self._ledger_folder, stage, lang) as ledger:
            drive = Drive(ledger, self._engine(), self._settings, stage, lang, self._purse)
            self.tallies.append(self._answer(asked, drive))
        return self._read(stage, lang, asked)

    def _read(self, stage: str, lang: str, asked: Iterable[Request]) -> Iterator[tuple[Request, Outcome]]:
        with read_ledger(self._ledger_folder, stage, lang) as ledger:
            yield from outcomes(asked, ledger)

    def _answer(self, asked: Iterable[Request], drive: Drive) -> Tally:
        if self._settings.engine != "openai_batch":
            return answer_all(asked, drive)
        from persona_assets.llm.batches import answer_by_batches  # noqa: PLC0415

        return answer_by_batches(asked, drive)

    def _engine(self) -> Engine:
        # The clients take half a second to import and more, which a replay or `--help` need not wait for.
        if self._settings.engine == "vllm":
            from persona_assets.llm.engines.vllm import VllmEngine  # noqa: PLC0415

            return VllmEngine(self._settings)
        if self._settings.engine == "openai":
            from persona_assets.llm.engines.openai import OpenAIEngine  # noqa: PLC0415

            return OpenAIEngine(self._settings, endpoint_of(self._settings))
        # Batches are not asked request by request.
        return ReplayEngine()

    def _import_recordings(self, lang: str) -> None:
        setting = self._settings.recordings
        if setting is None:
            return
        path = RECORDINGS_FOLDER / f"{lang}.jsonl" if setting == "samples" else Path(setting.format(lang=lang))
        if path not in self._imported and path.is_file():
            import_answers(self._ledger_folder, path)
            self._imported.add(path)

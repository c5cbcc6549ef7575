import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from persona_assets.errors import BudgetReachedError, ProfileError
from persona_assets.llm.model import LanguageModel
from persona_assets.llm.requests import Answer
from persona_assets.llm.spending import NOTHING, Charge, Obstacle, Purse, Spending, most_prompt_tokens
from persona_assets.settings import BudgetSettings, PriceSettings, load_profile
from persona_assets_tests.conftest import Cli
from persona_assets_tests.driving import STAGE, Questions, answered, ask, model_for, question, settings_for, stored
from persona_assets_tests.endpoint import KEY, Endpoint

PRICES = PriceSettings(input=1.0, cached_input=0.25, output=4.0)


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    with Endpoint() as running:
        yield running


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    server.reset()
    return server


def answer(prompt: int | None, cached: int | None, completion: int | None) -> Answer:
    return Answer("key", "text", "stop", 256, "tiny", "host", prompt, cached, completion)


def test_an_answer_costs_its_input_cached_input_and_output():
    charge = Purse(prices=PRICES).settle_answer(question(1), NOTHING, answer(1000, 400, 100))
    assert charge.tokens == 1100
    assert charge.cost == pytest.approx((600 * 1.0 + 400 * 0.25 + 100 * 4.0) / 1e6)


def test_cached_input_costs_as_much_as_input_where_no_price_is_given():
    purse = Purse(prices=PriceSettings(input=1.0, output=0.0))
    assert purse.settle_answer(question(1), NOTHING, answer(1000, 400, 100)).cost == pytest.approx(1000 / 1e6)


def test_what_an_endpoint_does_not_count_is_counted_at_its_most():
    purse = Purse(prices=PRICES)
    assert purse.settle_answer(question(1), NOTHING, answer(None, None, None)) == purse.at_most(question(1))
    assert purse.settle_failure(question(1), NOTHING, charged=True) == purse.at_most(question(1))
    assert purse.settle_failure(question(1), NOTHING, charged=False) == Charge(1)


def test_a_prompt_is_never_taken_for_shorter_than_it_can_be():
    for text in ("plain words", "水" * 100, "😀" * 50, "\ud800"):
        assert most_prompt_tokens(question(1, text)) > len(text.encode("utf-8", "surrogatepass"))


def test_what_is_set_aside_counts_until_it_is_settled():
    budget = BudgetSettings(max_requests=1)
    purse = Purse(budget)
    reserved = purse.reserve(question(1))
    assert isinstance(reserved, Charge)
    obstacle = purse.reserve(question(2))
    assert isinstance(obstacle, Obstacle)
    assert obstacle.pending
    purse.settle_answer(question(1), reserved, answer(1, 0, 1))
    obstacle = purse.reserve(question(2))
    assert isinstance(obstacle, Obstacle)
    assert not obstacle.pending


def test_a_budget_on_requests_stops_the_run_and_keeps_the_answers(endpoint: Endpoint, tmp_path: Path):
    budget = BudgetSettings(max_requests=30)
    with pytest.raises(BudgetReachedError, match=r"30 of 30 \(budget.max_requests\)") as caught:
        ask(model_for(endpoint, tmp_path, budget), Questions(100))
    assert caught.value.whole_run
    assert endpoint.stats()["requests"] == 30
    assert len(stored(tmp_path)) == 30


def test_runs_with_a_fresh_budget_finish_the_work_without_paying_twice(endpoint: Endpoint, tmp_path: Path):
    budget = BudgetSettings(max_requests=30)
    for _ in range(3):
        with pytest.raises(BudgetReachedError):
            ask(model_for(endpoint, tmp_path, budget), Questions(100))
    assert len(answered(ask(model_for(endpoint, tmp_path, budget), Questions(100)))) == 100
    assert endpoint.stats()["requests"] == 100


def test_answers_in_the_ledger_cost_nothing(endpoint: Endpoint, tmp_path: Path):
    ask(model_for(endpoint, tmp_path), Questions(40))
    model = model_for(endpoint, tmp_path, BudgetSettings(max_requests=1))
    assert len(answered(ask(model, Questions(41)))) == 41
    assert model.spending.spent().requests == 1


@pytest.mark.parametrize("faults", [{}, {"hang": 0.1, "truncated_body": 0.1, "error_500": 0.1, "latency_s": 0.01}])
def test_money_and_tokens_are_never_overspent(endpoint: Endpoint, tmp_path: Path, faults: dict[str, float]):
    endpoint.control(**faults)
    budget = BudgetSettings(max_cost=0.02, max_tokens=50_000)
    model = model_for(endpoint, tmp_path, budget, price_per_million=PRICES, timeout_s=0.5)
    with pytest.raises(BudgetReachedError, match=r"budget\.max_"):
        ask(model, Questions(2000))
    spent = model.spending.spent()
    assert spent.cost <= 0.02
    assert spent.tokens <= 50_000
    # With nobody in flight any more, not even one more request would have fitted.
    most = Purse(budget, PRICES).at_most(question(1))
    assert spent.cost + most.cost > 0.02 * 0.98 or spent.tokens + most.tokens > 50_000 * 0.98
    known = sum((kept.prompt_tokens or 0) + (kept.completion_tokens or 0) for kept in stored(tmp_path))
    assert known <= spent.tokens


def test_each_language_has_a_budget_of_its_own(endpoint: Endpoint, tmp_path: Path):
    model = model_for(endpoint, tmp_path, BudgetSettings(language_max_requests=10, max_requests=100))
    with pytest.raises(BudgetReachedError, match="budget of en") as caught:
        ask(model, Questions(50))
    assert not caught.value.whole_run
    assert len(list(model.ask(STAGE, "es", Questions(10, lang="es")))) == 10
    assert (model.spending.spent("en").requests, model.spending.spent().requests) == (10, 20)


def test_parallel_stages_of_a_run_share_its_budget(endpoint: Endpoint, tmp_path: Path):
    endpoint.control(latency_s=0.02)
    os.environ["OPENAI_API_KEY"] = KEY
    spending, budget = Spending(), BudgetSettings(max_requests=60)

    def run(lang: str) -> bool:
        model = LanguageModel(settings_for(endpoint), tmp_path, budget, spending)
        try:
            list(model.ask(STAGE, lang, Questions(100, lang=lang)))
        except BudgetReachedError:
            return True
        return False

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(run, ["en", "es", "eu"]))
    assert endpoint.stats()["requests"] == 60
    assert spending.spent().requests == 60


def test_progress_tells_the_cost_or_that_there_are_no_prices(endpoint: Endpoint, tmp_path: Path):
    priced, bare = model_for(endpoint, tmp_path / "a", price_per_million=PRICES), model_for(endpoint, tmp_path / "b")
    for model in (priced, bare):
        ask(model, Questions(5))
    assert priced.tallies[0].cost == pytest.approx(priced.spending.spent().cost)
    assert "cost 0.0" in priced.tallies[0].line()
    assert bare.tallies[0].cost is None
    assert "tokens, no prices set" in bare.tallies[0].line()


def test_a_limit_on_the_cost_without_prices_is_an_error_of_the_profile():
    with pytest.raises(ProfileError, match=r"set llm\.price_per_million"):
        load_profile("quickstart", {"budget.max_cost": 5.0})
    prices = {"input": 0.15, "output": 0.6}
    profile = load_profile("quickstart", {"budget.max_cost": 5.0, "llm.price_per_million": prices})
    assert profile.budget.max_cost == 5.0


def test_the_command_line_leaves_with_status_3_and_one_line(endpoint: Endpoint, cli: Cli):
    stopped = cli(
        *("run", "--languages", "en", "--limit", "6", "--set", "llm.model=tiny", "--set", "budget.max_requests=4"),
        OPENAI_API_KEY=KEY,
        OPENAI_BASE_URL=endpoint.base_url,
    )
    assert stopped.returncode == 3, stopped.stderr
    assert "the run's budget is reached" in stopped.stderr.splitlines()[-1]
    assert "Traceback" not in stopped.stderr
    assert endpoint.stats()["requests"] == 4

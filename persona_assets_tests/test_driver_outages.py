import threading
import time
from pathlib import Path

import pytest

from persona_assets.errors import EndpointError
from persona_assets_tests.driving import Questions, answered, ask, model_for, stored
from persona_assets_tests.endpoint import Endpoint


def later(seconds: float, action) -> threading.Thread:
    thread = threading.Thread(target=lambda: (time.sleep(seconds), action()), daemon=True)
    thread.start()
    return thread


def test_a_server_that_is_down_and_comes_back_costs_no_request(tmp_path: Path):
    with Endpoint(latency_s=0.02) as server:
        model = model_for(server, tmp_path, max_attempts=2, concurrency=16)
        later(0.5, lambda: server.control(down_for_s=2.5))
        pairs = ask(model, Questions(800))
        assert len(answered(pairs)) == 800
        assert len(stored(tmp_path)) == 800
        # While it is down, it is looked for, not asked.
        assert server.stats()["by_fault"]["down"] < 2 * 16 + 10


def test_a_server_process_that_dies_and_is_started_again_is_waited_for(tmp_path: Path):
    replacement: list[Endpoint] = []
    with Endpoint(latency_s=0.02) as server:
        port = int(server.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        model = model_for(server, tmp_path, max_attempts=2, concurrency=16)

        def replace() -> None:
            server._stop()
            time.sleep(1.5)
            replacement.append(Endpoint(port=port, latency_s=0.0).__enter__())

        thread = later(0.4, replace)
        pairs = ask(model, Questions(800))
        thread.join()
    replacement[0]._stop()
    assert len(answered(pairs)) == 800


def test_an_outage_longer_than_the_patience_ends_the_run_and_keeps_the_answers(tmp_path: Path):
    with Endpoint(latency_s=0.02) as server:
        model = model_for(server, tmp_path, outage_patience_s=1.0, concurrency=8)
        later(0.5, lambda: server.control(down_for_s=60.0))
        with pytest.raises(EndpointError, match="has been down for 1 s"):
            ask(model, Questions(5000))
        kept = len(stored(tmp_path))
        assert 0 < kept < 5000
        server.reset()
        assert len(answered(ask(model, Questions(kept + 50)))) == kept + 50
        # What was in flight when it went down is asked anew, and what is kept is not.
        assert server.stats()["requests"] == 50


def test_an_endpoint_that_refuses_everybody_for_a_while_costs_no_request(tmp_path: Path):
    with Endpoint(latency_s=0.02) as server:
        model = model_for(server, tmp_path, max_attempts=2, concurrency=16)
        later(0.4, lambda: server.control(error_503=1.0))
        later(2.0, lambda: server.control(error_503=0.0))
        assert len(answered(ask(model, Questions(800)))) == 800


def test_an_endpoint_that_refuses_everybody_too_long_ends_the_run(tmp_path: Path):
    with Endpoint(error_429=1.0, retry_after_s=0.1) as server:
        model = model_for(server, tmp_path, outage_patience_s=1.0)
        with pytest.raises(EndpointError, match="has refused everything for"):
            ask(model, Questions(5000))
    with Endpoint(error_429=1.0, retry_after_s=7200) as server, pytest.raises(EndpointError, match="wait 7200 s"):
        ask(model_for(server, tmp_path), Questions(5000))


def test_requests_that_break_every_connection_end_as_failures_of_their_own(tmp_path: Path):
    with Endpoint() as server:
        ask(model_for(server, tmp_path), Questions(1))
        server.control(reset=1.0)
        model = model_for(server, tmp_path, max_attempts=3, max_failed_share=1.0)
        pairs = ask(model, Questions(12, first=1))
        assert {outcome.kind for _, outcome in pairs} == {"connection"}

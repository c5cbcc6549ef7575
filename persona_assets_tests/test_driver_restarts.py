import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from persona_assets.errors import LedgerError, StorageError
from persona_assets.llm.ledger import open_ledger, read_ledger
from persona_assets_tests.driving import (
    LANG,
    STAGE,
    Questions,
    answered,
    ask,
    fork_asking,
    integrity,
    model_for,
    start_asking,
    stored,
    wait_until,
)
from persona_assets_tests.endpoint import KEY, Endpoint


def test_after_kill_9_only_requests_that_were_in_flight_are_repeated(tmp_path: Path):
    rng, count = random.Random(20), 3000
    with Endpoint(log_path=tmp_path / "log.jsonl", latency_s=0.05) as server:
        for _ in range(10):
            before = server.stats()["requests"]
            process = fork_asking(server.base_url, tmp_path, count, concurrency=16)
            wait_until(lambda before=before: server.stats()["requests"] > before)
            time.sleep(rng.uniform(0.0, 0.8))
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            # An answer in a socket's buffer at the kill has reached nobody: it was in flight, too.
            wait_until(lambda: server.stats()["in_flight"] == 0)
        held = len(stored(tmp_path))
        assert 0 < held < count, "the kills came too early or too late to show anything"
        last = fork_asking(server.base_url, tmp_path, count, concurrency=16)
        last.join(60)
        assert last.exitcode == 0
        asked = Counter(event["hash"] for event in server.events() if event["event"] == "arrived")
        assert len(asked) == count
        assert asked.total() - count <= 10 * 16
        assert len(stored(tmp_path)) == count


def test_an_interrupted_run_keeps_its_answers(tmp_path: Path):
    with Endpoint(latency_s=0.05) as server:
        process = start_asking(server.base_url, tmp_path, 5000, concurrency=16)
        wait_until(lambda: server.stats()["requests"] > 50)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert len(stored(tmp_path)) > 30


def test_a_second_process_on_the_same_ledger_is_refused_and_told_who_holds_it(tmp_path: Path):
    with Endpoint(latency_s=0.5) as server:
        first = fork_asking(server.base_url, tmp_path, 5000)
        wait_until(lambda: server.stats()["requests"] > 0)
        with (
            pytest.raises(LedgerError, match=f"is in use by process {first.pid} on") as caught,
            open_ledger(tmp_path, STAGE, LANG, wait_s=0.2),
        ):
            pass
        assert "\n" not in str(caught.value)
        first.kill()
        first.join()


def test_a_second_process_that_waits_asks_nothing_twice(tmp_path: Path):
    with Endpoint(latency_s=0.05) as server:
        both = [start_asking(server.base_url, tmp_path, 100) for _ in range(2)]
        for process in both:
            out, err = process.communicate(timeout=60)
            assert out.strip() == "100", err
        assert server.stats()["requests"] == 100


def test_a_full_disk_stops_the_run_and_a_rerun_goes_on(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        with Endpoint() as server:
            model = model_for(server, disk)
            with pytest.raises(StorageError, match="the disk is full"):
                ask(model, Questions(20_000))
            with read_ledger(disk, STAGE, LANG) as ledger:
                held = len(ledger)
                assert integrity(ledger) == "ok"
            assert held > 100
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            server.reset()
            assert len(answered(ask(model, Questions(held + 100)))) == held + 100
            # The dispatcher had stopped before more than what was in flight went out.
            assert server.stats()["requests"] <= 100
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_the_key_is_in_no_output_of_a_process_that_fails(tmp_path: Path):
    with Endpoint() as server:
        wrong = "sk-wrong-key-0123456789"
        out, err = start_asking(server.base_url, tmp_path, 5, key=wrong).communicate(timeout=60)
        assert "refused the key" in err
        assert wrong not in out + err
        out, err = start_asking(server.base_url, tmp_path, 5, key=KEY + "\nX").communicate(timeout=60)
        assert "line break" in err
        assert KEY not in out + err

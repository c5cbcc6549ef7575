import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from persona_assets.llm.concurrency import START, Governor

# (now, rng) -> (latency in seconds, how it ends, Retry-After in seconds)
Served = tuple[float, str, float | None]
Server = Callable[[float, random.Random], Served]


@dataclass
class Course:
    """What a simulated run came to."""

    governor: Governor
    answered: int = 0
    refused: int = 0
    limits: list[tuple[float, float]] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)

    def limit_at(self, now: float) -> float:
        return next(limit for when, limit in reversed(self.limits) if when <= now)


def simulate(serve: Server, seconds: float, *, maximum: int = 256, timeout_s: float = 120.0) -> Course:
    """Drive `serve` by a governor on a simulated clock, as fast as it allows."""
    rng, now, course = random.Random(1), 0.0, Course(Governor(maximum, timeout_s=timeout_s, now=0.0))
    governor, events, ticket = course.governor, [], 0
    while now < seconds:
        while len(events) < governor.slots and governor.wait_s(now) <= 0:
            latency, ending, wait = serve(now, rng)
            ticket += 1
            heapq.heappush(events, (now + latency, ticket, ending, now, wait))
            governor.started(now, len(events))
            course.starts.append(now)
        wake = now + governor.wait_s(now) if len(events) < governor.slots else float("inf")
        if not events or wake < events[0][0]:
            now = wake + 1e-9
            continue
        now, _, ending, started, wait = heapq.heappop(events)
        if ending == "answer":
            governor.answered(started, now)
            course.answered += 1
        elif ending == "refusal":
            governor.refused(started, now, wait)
            course.refused += 1
        elif ending == "timeout":
            governor.timed_out(started, now)
        else:
            governor.failed(now)
        course.limits.append((now, governor.limit))
    return course


def healthy(latency: float) -> Server:
    return lambda _now, rng: (latency * rng.uniform(0.8, 1.2), "answer", None)


def test_it_starts_low_and_reaches_the_maximum_while_the_endpoint_keeps_up():
    course = simulate(healthy(1.0), 60)
    assert course.starts.index(next(start for start in course.starts if start > 0)) == START
    assert course.limit_at(6.0) == 256
    assert course.answered >= 0.94 * 256 * 60


def test_a_maximum_below_the_start_is_kept():
    course = simulate(healthy(0.5), 5, maximum=3)
    assert max(limit for _, limit in course.limits) == 3


def test_a_twentieth_of_refusals_and_of_errors_is_noise_that_costs_no_concurrency():
    def serve(_now: float, rng: random.Random) -> Served:
        drawn = rng.random()
        if drawn < 0.05:
            return 0.2, "refusal", 1.0
        return 0.2, "error" if drawn < 0.1 else "answer", None

    course = simulate(serve, 30, maximum=64)
    assert course.answered >= 0.85 * 0.9 * 64 / 0.2 * 30


def test_many_refusals_halve_what_is_in_flight_once_per_wave():
    governor = Governor(64, timeout_s=60, now=0.0)
    for number in range(64):
        governor.started(0.0, number + 1)
    for _ in range(48):
        governor.answered(0.0, 1.0)
    before = governor.limit
    governor.started(1.5, 20)
    for _ in range(40):
        governor.refused(1.5, 2.0)
    assert governor.limit == before / 2


def test_an_endpoint_that_refuses_everybody_is_left_alone_for_the_time_it_names():
    governor = Governor(64, timeout_s=60, now=0.0)
    for _ in range(16):
        governor.refused(0.0, 0.1, 20.0)
    assert governor.wait_s(0.1) == pytest.approx(20.0)
    assert governor.overloaded(0.1)


def test_one_refusal_among_answers_pauses_nobody():
    governor = Governor(64, timeout_s=60, now=0.0)
    for _ in range(10):
        governor.answered(0.0, 0.1)
    governor.refused(0.0, 0.1, 20.0)
    assert governor.wait_s(0.1) == 0.0
    assert not governor.overloaded(0.1)


def test_half_a_minute_of_refusals_is_survived_with_few_requests_and_quick_recovery():
    def serve(now: float, rng: random.Random) -> Served:
        return (0.05, "refusal", None) if 5 < now < 35 else healthy(0.2)(now, rng)

    course = simulate(serve, 60)
    assert sum(8 < start < 35 for start in course.starts) < 150
    assert course.limit_at(45.0) >= 128


def test_a_limited_rate_is_found_and_mostly_used():
    level = {"tokens": 20.0, "at": 0.0}

    def serve(now: float, _rng: random.Random) -> Served:
        level["tokens"] = min(20.0, level["tokens"] + (now - level["at"]) * 20.0)
        level["at"] = now
        if level["tokens"] < 1.0:
            return 0.05, "refusal", 1.0
        level["tokens"] -= 1.0
        return 1.0, "answer", None

    course = simulate(serve, 120)
    assert course.answered >= 0.7 * 20 * 120
    assert course.refused <= 0.2 * course.answered


def test_a_minute_quota_with_retry_after_is_used_whole_without_hammering():
    quota = {"minute": 0, "used": 0}

    def serve(now: float, _rng: random.Random) -> Served:
        if int(now / 60) != quota["minute"]:
            quota.update(minute=int(now / 60), used=0)
        quota["used"] += 1
        return (1.0, "answer", None) if quota["used"] <= 60 else (0.05, "refusal", 60 - now % 60)

    course = simulate(serve, 300)
    assert course.answered == 300
    assert course.refused < 100


def test_a_queueing_server_is_not_flooded_and_loses_no_throughput():
    free = [0.0] * 32

    def serve(now: float, rng: random.Random) -> Served:
        end = max(now, heapq.heappop(free)) + rng.uniform(0.5, 1.5)
        heapq.heappush(free, end)
        return end - now, "answer", None

    course = simulate(serve, 120)
    assert course.limit_at(120) <= 128
    assert course.answered >= 0.95 * 32 * 120


def test_below_one_request_at_a_time_they_are_spaced_out():
    last = {"at": -100.0}

    def serve(now: float, _rng: random.Random) -> Served:
        if now - last["at"] < 5.0:
            return 0.05, "refusal", None
        last["at"] = now
        return 0.2, "answer", None

    course = simulate(serve, 600, maximum=16)
    assert course.answered >= 50
    assert course.refused <= 5 * course.answered


def test_timeouts_shrink_what_is_in_flight_without_a_pause():
    governor = Governor(64, timeout_s=60, now=0.0)
    for _ in range(40):
        governor.answered(0.0, 1.0)
    before = governor.limit
    for _ in range(20):
        governor.timed_out(1.0, 61.0)
    assert governor.limit < before
    assert governor.wait_s(61.0) == 0.0


def test_after_an_outage_it_begins_anew():
    governor = Governor(256, timeout_s=60, now=0.0)
    for _ in range(16):
        governor.refused(0.0, 0.1, 500.0)
    governor.restart(30.0)
    assert governor.limit == START
    assert governor.wait_s(30.0) == 0.0


def test_a_slow_model_is_not_taken_for_an_overloaded_one():
    course = simulate(healthy(70.0), 3600, timeout_s=120.0)
    assert course.limit_at(3600) == 256


def test_longer_answers_in_mid_course_do_not_throttle_the_rest():
    course = simulate(lambda now, rng: healthy(1.0 if now < 60 else 8.0)(now, rng), 1200)
    assert course.limit_at(50) == 256
    assert course.limit_at(1200) == 256

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from persona_assets.llm.rates import Allowance, Bucket, duration_s, retry_after, window_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("2m59.56s", 179.56),
        ("1d", 86_400.0),
        ("17", 17.0),
        ("0.25", 0.25),
    ],
)
def test_reset_headers_are_read_in_every_form_in_use(text, seconds):
    assert duration_s(text) == pytest.approx(seconds)


def test_reset_headers_may_name_a_time():
    assert duration_s(str(time.time() + 30)) == pytest.approx(30, abs=1)
    assert duration_s(str(int((time.time() + 30) * 1000))) == pytest.approx(30, abs=1)
    assert duration_s((datetime.now(UTC) + timedelta(seconds=30)).isoformat()) == pytest.approx(30, abs=1)


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf"])
def test_reset_headers_that_say_nothing_are_no_number(text):
    assert duration_s(text) is None


def test_retry_after_is_seconds_or_a_date_and_milliseconds_win():
    assert retry_after({"retry-after": "7"}) == 7.0
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after({"retry-after": when}) == pytest.approx(30, abs=1.5)
    assert retry_after({"retry-after": "1", "retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)}) == 0.0
    assert retry_after({"retry-after": "whenever"}) is None
    assert retry_after({}) is None


def test_rate_headers_give_a_window_only_where_there_are_any():
    headers = {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "2s"}
    window = window_of(headers)
    assert window is not None
    assert (window.requests_left, window.requests_reset_s, window.tokens_left) == (3, 2.0, None)
    assert window_of({"content-type": "application/json"}) is None


def test_a_cap_per_minute_holds_over_any_minute():
    bucket, now, taken = Bucket(60, 0.0), 0.0, []
    while now < 300:
        now += max(bucket.wait_s(now), 0.001)
        if bucket.wait_s(now) == 0:
            bucket.take(1, now)
            taken.append(now)
    most = max(sum(start <= other < start + 60 for other in taken) for start in taken)
    assert most <= 61
    assert len(taken) >= 295


def test_tokens_taken_too_many_are_given_back_when_the_answer_is_shorter():
    bucket = Bucket(6000, 0.0)
    bucket.take(1000, 0.0)
    assert bucket.wait_s(0.0) == pytest.approx(9.76, abs=0.1)
    bucket.take(100 - 1000, 0.0)
    assert bucket.wait_s(0.0) == pytest.approx(0.76, abs=0.1)


def test_what_an_endpoint_says_is_left_is_not_exceeded_until_its_window_ends():
    allowance = Allowance()
    assert allowance.wait_s(1, 0.0) == 0.0
    allowance.told(1, 10.0, 0.0)
    assert allowance.wait_s(1, 0.0) == 0.0
    allowance.take(1)
    assert allowance.wait_s(1, 4.0) == 6.0
    assert allowance.wait_s(1, 10.0) == 0.0

"""How many requests may be in flight: climbs while the endpoint keeps up, backs off when it does not.

Additive increase and multiplicative decrease (Chiu and Jain, 1989) in rounds, one round being about
as many responses as requests are in flight. Below a ceiling it climbs as TCP does at the start, with
every answer; the ceiling is found where the rate of answers no longer follows the number in flight
(the "full pipe" of BBR, Cardwell et al., 2016) or the endpoint pushes back. A few refusals among many
answers are noise and concern only the requests they hit; what counts is their share.

Nothing here reads a clock or does I/O: every `now` is given, in seconds of the caller's clock.
"""

import math

START = 16
LEAST = 1 / 64
MIN_ROUND = 8
# Refusals are counted against at least so many responses, or three in a row would look like a flood.
MIN_SAMPLE = 32
# Of the responses of a round, this share may be refusals before the endpoint counts as overloaded.
TOLERATED_SHARE = 0.2
# So many refusals, and no answer for longer than one takes on average: nobody is served at all.
STREAK, SILENCE = 4, 1.5
CUT = 0.5
GROWTH = 0.1
# Answers this many times slower than at best: no more growth; and: fewer in flight.
SLOW, DRAGGING = 2.0, 4.0
# After so many cuts for slowness, answers must be this much faster, or it is not the cuts that help.
DRAG_ROUNDS, DRAG_EFFECT = 5, 0.9
# The best latency is forgotten slowly, because questions and endpoints change.
FORGETTING = 1.002
FULL_PIPE_GROWTH, FULL_PIPE_ROUNDS = 1.2, 2
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0


class Governor:
    """Decides how many requests may be in flight, from how earlier ones fared.

    Args:
        maximum: never more in flight than this.
        timeout_s: when a request is given up; latencies near it are a reason to back off.
        now: the present.
    """

    def __init__(self, maximum: int, *, timeout_s: float, now: float) -> None:
        self._maximum = float(maximum)
        self._timeout_s = timeout_s
        self._limit = min(float(START), self._maximum)
        self._ceiling = math.inf
        self._latency_s = 1.0
        self._best_latency_s: float | None = None
        self._best_rate = 0.0
        self._flat_rounds = 0
        self._cut_at = -math.inf
        self._drags: list[float] = []
        self._pauses = 0
        self._resume_at = now
        self._streak = 0
        self._answered_at: float | None = None
        self._begin_round(now)

    @property
    def limit(self) -> float:
        """Requests that may be in flight; below one, they are spaced out in time as well."""
        return self._limit

    @property
    def slots(self) -> int:
        """Requests that may be in flight, as a whole number from 1."""
        return max(1, int(self._limit))

    def wait_s(self, now: float) -> float:
        """Seconds until the next request may start, however few are in flight."""
        return max(0.0, self._resume_at - now)

    def overloaded(self, now: float) -> bool:
        """Whether the endpoint refuses everybody at present, so that no single request is to blame."""
        return self._answered_at is None or self._silent(now) or now < self._resume_at

    def started(self, now: float, in_flight: int) -> None:
        """Note that a request has started, which makes it `in_flight`."""
        if in_flight >= self.slots:
            self._saturated = True
        if self._limit < 1.0:
            self._resume_at = max(self._resume_at, now + self._latency_s / self._limit)

    def answered(self, started: float, now: float) -> None:
        """Note an answer to a request of time `started`."""
        latency = now - started
        self._answered_at = now
        self._streak = 0
        self._good += 1
        self._pauses = max(0, self._pauses - 1)
        self._latencies += latency
        self._latency_s += (latency - self._latency_s) * 0.1
        if self._limit < self._ceiling and self._saturated:
            # Two more for each answer: three times as many in flight with each round.
            self._limit = min(self._maximum, self._ceiling, self._limit + 2.0)
        if self._good + self._bad >= self._round_size:
            self._end_round(now)

    def failed(self, now: float) -> None:
        """Note a response that is neither an answer nor a sign of overload, such as an error 400 or 500."""
        self._streak = 0
        self._answered_at = now

    def refused(self, started: float, now: float, retry_after_s: float | None = None) -> None:
        """Note a refusal for overload (429, 503 …) of a request of time `started`.

        If it is one of many, fewer requests go out, and none before the time the endpoint names; those
        that were on their way when that was found out can only make the pause longer.
        """
        late = started < self._cut_at
        if self._pushed_back(started, now):
            self._pauses += 1
        elif not late and self._answered_at is not None:
            return
        wait_s = SHORTEST_PAUSE_S * 2.0 ** min(self._pauses, 10) if retry_after_s is None else retry_after_s
        self.pause(now, min(wait_s, LONGEST_PAUSE_S) if retry_after_s is None else wait_s)

    def timed_out(self, started: float, now: float) -> None:
        """Note that a request was given up: a sign of overload like a refusal, but no reason to pause."""
        self._pushed_back(started, now)

    def pause(self, now: float, seconds: float) -> None:
        """Start nothing for so long."""
        self._resume_at = max(self._resume_at, now + seconds)

    def restart(self, now: float) -> None:
        """Begin anew after an outage: the endpoint is cold, and everybody comes back at once."""
        self._limit = min(float(START), self._maximum)
        self._ceiling = math.inf
        self._best_latency_s = None
        self._drags.clear()
        self._best_rate, self._flat_rounds, self._streak, self._pauses = 0.0, 0, 0, 0
        self._resume_at = now
        self._begin_round(now)

    def _silent(self, now: float) -> bool:
        since = self._answered_at
        return self._streak >= STREAK and (since is None or now - since > SILENCE * self._latency_s)

    def _pushed_back(self, started: float, now: float) -> bool:
        """Whether this is one refusal too many, and fewer requests go out from now on."""
        self._bad += 1
        self._streak += 1
        if started < self._cut_at:
            return False
        if self._silent(now):
            # Nobody is served: ask one at a time until somebody is, then climb to half of what it was.
            if self._limit > 1.0 or self._ceiling < self._limit:
                self._ceiling = max(LEAST, self._limit * CUT)
            self._cut_to(min(1.0, self._ceiling), now)
            return True
        if self._bad > TOLERATED_SHARE * max(MIN_SAMPLE, self._limit):
            self._ceiling = max(LEAST, self._limit * CUT)
            self._cut_to(self._ceiling, now)
            return True
        return False

    def _cut_to(self, limit: float, now: float) -> None:
        self._limit = limit
        self._cut_at = now
        self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        self._round_at = now
        self._round_size = max(MIN_ROUND, self._limit)
        self._good = self._bad = 0
        self._latencies = 0.0
        self._saturated = False

    def _end_round(self, now: float) -> None:
        latency = self._latencies / self._good
        rate = self._good / max(now - self._round_at, 1e-9)
        if self._best_latency_s is None or self._limit <= START:
            # So few cannot be in each other's way, whatever was measured before.
            self._best_latency_s = latency
        best = self._best_latency_s = min(self._best_latency_s * FORGETTING, latency)
        calm = self._bad <= TOLERATED_SHARE / 2 * (self._good + self._bad)
        if self._limit < self._ceiling:
            self._look_for_ceiling(latency / best, rate)
        elif latency > (SLOW if latency > self._timeout_s / 2 else DRAGGING) * best:
            self._drag(latency)
        elif calm and self._saturated and latency < SLOW * best:
            # Below one request at a time it doubles: there is a long way to go.
            step = max(min(1.0, self._limit), GROWTH * self._limit)
            self._limit = min(self._maximum, self._limit + step)
        if latency <= SLOW * best:
            self._drags.clear()
        self._best_rate = max(self._best_rate, rate)
        self._begin_round(now)

    def _drag(self, latency: float) -> None:
        self._drags.append(latency)
        if len(self._drags) > DRAG_ROUNDS and latency > DRAG_EFFECT * self._drags[0]:
            # Fewer in flight are no faster: the questions have become longer, not the queue.
            self._best_latency_s = latency
            self._drags.clear()
        else:
            self._ceiling = self._limit = max(min(1.0, self._limit), self._limit * (1.0 - GROWTH))

    def _look_for_ceiling(self, slowness: float, rate: float) -> None:
        if slowness > SLOW:
            # In a queue, latency grows with the number in flight.
            self._ceiling = self._limit = max(1.0, self._limit * SLOW / slowness)
        elif math.isinf(self._ceiling):
            self._flat_rounds = 0 if rate > self._best_rate * FULL_PIPE_GROWTH else self._flat_rounds + 1
            if self._flat_rounds >= FULL_PIPE_ROUNDS:
                self._ceiling = self._limit

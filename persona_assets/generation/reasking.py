"""A second chance for replies that cannot be read: asked once more, with what was wrong.

The second question is a request of its own (the first exchange and the error are among its messages),
so its answer has a key of its own, is kept beside the first, and is never paid for twice either.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from persona_assets.generation.parsing import ReplyFault
from persona_assets.llm.requests import Answer, Failure, Message, Outcome, Request

Ask = Callable[[str, str, Sequence[Request]], Iterable[tuple[Request, Outcome]]]
FaultOf = Callable[[Outcome], ReplyFault | None]

# No reply came, or another one would end in the same way.
_FINAL = frozenset({"request_failed", "content_filter", "truncated"})


@dataclass(frozen=True)
class Exchange:
    """One request and how it ended: the request whose outcome counts, and all answers on the way.

    `note` says that it was asked again and why; it is empty where the first outcome counts.
    """

    request: Request
    outcome: Outcome
    answers: tuple[tuple[Request, Answer], ...]
    note: str = ""

    def explain(self, fault: ReplyFault) -> ReplyFault:
        """Add the note to the evidence of a fault."""
        return replace(fault, evidence="; ".join(filter(None, (fault.evidence, self.note)))) if self.note else fault


def ask_twice(
    ask: Ask, stage: str, lang: str, requests: Sequence[Request], *, fault_of: FaultOf, enabled: bool
) -> Iterator[Exchange]:
    """Ask all requests, then those again whose reply cannot be read; one exchange each, in their order.

    Args:
        ask: answers requests, in their order.
        stage: the stage of the requests.
        lang: their language, ISO 639-1.
        requests: what to ask.
        fault_of: what makes a reply useless, if anything.
        enabled: whether to ask anything again.
    """
    firsts = list(ask(stage, lang, requests))
    faults = [fault_of(outcome) if enabled else None for _, outcome in firsts]
    again = {
        request.key: second_request(request, outcome, fault)
        for (request, outcome), fault in zip(firsts, faults, strict=True)
        if isinstance(outcome, Answer) and fault and fault.reason not in _FINAL and not outcome.truncated
    }
    seconds = {request.key: outcome for request, outcome in ask(stage, lang, list(again.values()))} if again else {}
    for (request, outcome), fault in zip(firsts, faults, strict=True):
        first = ((request, outcome),) if isinstance(outcome, Answer) else ()
        second = again.get(request.key)
        if second is None or fault is None:
            yield Exchange(request, outcome, first)
            continue
        reply = seconds[second.key]
        if isinstance(reply, Failure):
            yield Exchange(request, outcome, first, f"asked again, which failed: {reply.kind}")
        else:
            yield Exchange(second, reply, (*first, (second, reply)), f"asked again after {fault.reason}")


def second_request(request: Request, answer: Answer, fault: ReplyFault) -> Request:
    """The request that shows a model its reply and what is wrong with it.

    The error is given as JSON rather than as a sentence: a sentence would have a language, which the
    model might take up in its answer. It may fail without being counted: the first reply is there.
    """
    error = {"error": fault.reason, "detail": fault.evidence, "schema": request.response_format.schema}
    # Several APIs refuse empty messages.
    reply = (Message("assistant", answer.text),) if answer.text.strip() else ()
    complaint = Message("user", json.dumps(error, ensure_ascii=False))
    return replace(request, messages=(*request.messages, *reply, complaint), optional=True)

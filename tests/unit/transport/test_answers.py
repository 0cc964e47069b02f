"""What the client makes of answers, also of those that a restate-server gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.errors import (
    ActorsError,
    BadArguments,
    BadId,
    InvocationKilled,
    NotReady,
    TerminalError,
    UnknownHandler,
    UnknownInvocation,
    UnknownService,
)
from actors.transport.client.answers import Answer, failure


def answer(status: int, message: str, source: str = "ingress", **more: Any) -> Answer:
    body = {"code": status, "message": message, "source": source, **more}
    return Answer(status, {"content-type": "application/json"}, json.dumps(body).encode())


# Texts of restate-server 1.7.12.
@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            answer(404, "service 'Nobody' not found, make sure to register the service before calling it."),
            UnknownService,
        ),
        (answer(404, "the service 'Counter' exists, but the handler 'nope' was not found, check ..."), UnknownHandler),
        (answer(404, "invocation not found"), UnknownInvocation),
        (answer(400, "bad invocation id 'inv_1nonsense': bad length"), BadId),
        (answer(400, "bad awakeable id 'nonsense': bad format"), BadId),
        (answer(470, "the invocation exists but has not completed yet"), NotReady),
        (answer(409, "killed", "invocation"), InvocationKilled),
        (answer(409, "the workflow method was already invoked"), TerminalError),
        (answer(500, "service 'x' is what my handler said", "invocation"), TerminalError),
    ],
)
def test_an_error_of_a_restate_server_is_the_class_that_ours_raises(told: Answer, expected: type[ActorsError]) -> None:
    error = failure(told)
    assert type(error) is expected
    assert json.loads(told.body)["message"] in str(error)


def test_a_failure_that_came_through_restate_names_its_class_in_metadata() -> None:
    metadata = {"actors.error": "bad_arguments", "mine": "1"}
    error = failure(answer(400, "n", "invocation", metadata=metadata))
    assert isinstance(error, BadArguments) and error.metadata == {"mine": "1"}


def test_a_class_that_is_not_known_here_keeps_its_stable_code() -> None:
    error = failure(answer(500, "n", "invocation", metadata={"actors.error": "of_another_program"}))
    assert isinstance(error, TerminalError) and (error.error, error.metadata) == ("of_another_program", None)


def test_the_stable_code_of_our_server_comes_before_texts() -> None:
    error = failure(answer(404, "invocation not found", error="unknown_handler"))
    assert isinstance(error, UnknownHandler)

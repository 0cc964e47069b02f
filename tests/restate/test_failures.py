"""Terminal errors travel as failures and come back as the same class."""

from __future__ import annotations

import pytest

from actors import TerminalError
from actors.errors import (
    AwakeableRejected,
    BadArguments,
    DeadlockError,
    InvocationCancelled,
    InvocationKilled,
    PromiseRejected,
)
from actors.transport.restate.failures import ERROR, from_failure, names_its_class, to_failure
from actors.transport.restate.machine import Failure


class CardDeclined(TerminalError):
    error = "restate_test_card_declined"
    code = 402


@pytest.mark.parametrize(
    "error",
    [
        TerminalError("plain"),
        TerminalError("with a code", code=418, metadata={"a": "ü"}),
        CardDeclined("no", metadata={"card": "1"}),
        BadArguments("wrong"),
        DeadlockError("a -> b"),
        InvocationCancelled(),
    ],
)
def test_an_error_comes_back_with_class_code_and_metadata(error: TerminalError) -> None:
    back = from_failure(to_failure(error))
    assert type(back) is type(error)
    assert (back.message, back.code, back.metadata) == (error.message, error.code, error.metadata)


def test_only_a_class_of_its_own_is_named_unless_marked() -> None:
    assert to_failure(TerminalError("x")).metadata == ()
    assert to_failure(TerminalError("x"), marked=True).metadata == ((ERROR, "terminal_error"),)
    assert not names_its_class(to_failure(TerminalError("x", metadata={"a": "b"})))
    assert names_its_class(to_failure(CardDeclined("x")))


def test_the_entry_that_names_the_class_is_taken_out_again() -> None:
    back = from_failure(Failure(402, "no", (("a", "b"), (ERROR, CardDeclined.error))))
    assert type(back) is CardDeclined and back.metadata == {"a": "b"}


def test_an_unknown_class_comes_back_as_a_terminal_error() -> None:
    assert type(from_failure(Failure(402, "no", ((ERROR, "another_app"),)))) is TerminalError


@pytest.mark.parametrize("otherwise", [TerminalError, AwakeableRejected, PromiseRejected])
def test_a_failure_without_a_class_gets_the_one_of_its_await(otherwise: type[TerminalError]) -> None:
    back = from_failure(Failure(500, "why"), otherwise)
    assert type(back) is otherwise and back.message == "why"


def test_what_the_server_has_killed_is_known_by_its_text() -> None:
    assert type(from_failure(Failure(409, "killed"))) is InvocationKilled
    assert type(from_failure(Failure(409, "busy"))) is TerminalError
    assert type(from_failure(Failure(500, "killed"))) is TerminalError


@pytest.mark.parametrize(("code", "status"), [(0, 500), (200, 500), (400, 400), (599, 599), (600, 500)])
def test_a_code_that_is_no_http_error_counts_as_500(code: int, status: int) -> None:
    assert from_failure(Failure(code, "x")).code == status


def test_a_long_message_is_cut() -> None:
    failure = to_failure(TerminalError("a" * 500), 100)
    assert len(failure.message) < 300 and failure.message.startswith("aaa")
    assert to_failure(TerminalError("a" * 500)).message == "a" * 500

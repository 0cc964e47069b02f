"""Errors: stable codes, and every terminal error arrives as it was raised."""

from __future__ import annotations

import copy
import http
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import errors
from actors.errors import ActorsError, AttemptEnded, TerminalError
from actors.serde.failures import failure_error, failure_text

# The codes are part of the contract: clients, dashboards and stored journals know them.
CODES = {
    "AppNotRunning": ("app_not_running", 500),
    "AwakeableCompleted": ("awakeable_already_completed", 409),
    "AwakeableRejected": ("awakeable_rejected", 500),
    "BadArguments": ("bad_arguments", 400),
    "BadId": ("malformed_id", 400),
    "BadKey": ("bad_key", 400),
    "CannotKeep": ("cannot_keep", 409),
    "CannotPatch": ("cannot_patch", 409),
    "OutcomePending": ("outcome_pending", 500),
    "ObjectBusy": ("object_busy", 409),
    "StateChanged": ("state_changed", 412),
    "ClientClosed": ("client_closed", 500),
    "DeadlockError": ("deadlock", 409),
    "DefinitionError": ("bad_definition", 500),
    "DeterminismError": ("journal_mismatch", 500),
    "DurableTimeout": ("timeout", 408),
    "IdempotencyMismatch": ("idempotency_key_reused", 422),
    "InvocationCancelled": ("cancelled", 409),
    "InvocationKilled": ("killed", 409),
    "JournalTooLong": ("journal_too_long", 500),
    "MailboxFull": ("mailbox_full", 429),
    "MisusedApp": ("misused_app", 500),
    "ProgrammingError": ("programming_error", 500),
    "MisusedFuture": ("misused_future", 500),
    "NotReady": ("not_ready", 470),
    "Overloaded": ("overloaded", 429),
    "PayloadTooLarge": ("payload_too_large", 413),
    "PrivateHandler": ("private_handler", 400),
    "PromiseCompleted": ("promise_already_completed", 409),
    "PromiseRejected": ("promise_rejected", 500),
    "RequestTimedOut": ("request_timed_out", 504),
    "RetriesExhausted": ("retries_exhausted", 500),
    "TickSkipped": ("tick_skipped", 409),
    "SerializationError": ("not_serializable", 500),
    "ServerUnreachable": ("server_unreachable", 503),
    "StateDecodeError": ("stored_data_mismatch", 500),
    "StateWriteInStep": ("state_write_in_step", 500),
    "StateWriteRefused": ("state_write_in_shared_handler", 500),
    "LookRefused": ("look_refused", 503),
    "StorageError": ("storage_error", 503),
    "TerminalError": ("terminal_error", 500),
    "UndeclaredState": ("undeclared_state", 500),
    "UnexpectedAnswer": ("unexpected_answer", 502),
    "UnknownAwakeable": ("unknown_awakeable", 404),
    "UnknownHandler": ("unknown_handler", 404),
    "UnknownInvocation": ("unknown_invocation", 404),
    "UnknownService": ("unknown_service", 404),
    "UnsetState": ("unset_state", 500),
    "WrongKind": ("wrong_kind", 400),
    "WrongStatus": ("wrong_status", 409),
}
DEFINED = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, ActorsError) and found is not ActorsError
}
TERMINAL = [found for found in DEFINED.values() if issubclass(found, TerminalError)]


def arrived(error: TerminalError) -> TerminalError:
    text = failure_text(error)
    json.loads(text)
    return failure_error(text)


def test_every_error_has_its_stable_code() -> None:
    assert {name: (found.error, found.code) for name, found in DEFINED.items()} == CODES


def test_no_two_errors_share_a_code() -> None:
    codes = [found.error for found in DEFINED.values()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", DEFINED.values(), ids=DEFINED)
def test_every_error_says_in_its_docstring_or_its_base_what_it_means(kind: type[ActorsError]) -> None:
    assert kind.__doc__ or issubclass(kind, LookupError)


@pytest.mark.parametrize("kind", TERMINAL)
@pytest.mark.parametrize("code", [None, 400, 404, 418, 599])
@pytest.mark.parametrize("metadata", [None, {"a": "1", "ü": "\x00"}])
def test_a_terminal_error_arrives_as_it_was_raised(
    kind: Any, code: int | None, metadata: dict[str, str] | None
) -> None:
    error = kind("what happened: ü \x00 😀", code, metadata)
    back = arrived(error)
    assert type(back) is kind
    assert back.error == kind.error
    assert (back.message, str(back)) == (error.message, error.message)
    assert back.code == (code if code is not None else kind.code)
    assert back.metadata == metadata


@given(st.text(), st.integers(400, 599), st.dictionaries(st.text(), st.text(), max_size=3))
def test_what_arrived_arrives_again_the_same(message: str, code: int, metadata: dict[str, str]) -> None:
    once = arrived(TerminalError(message, code, metadata))
    twice = arrived(once)
    assert (twice.message, twice.code, twice.metadata) == (once.message, once.code, once.metadata)
    assert once.code == code


@pytest.mark.parametrize("code", [200, 0, -1, 399, 600, 10**30, True, "x", 404.0, [], object()])
def test_an_invalid_status_becomes_500_and_the_message_says_so(code: Any) -> None:
    back = arrived(TerminalError("no", code))
    assert back.code == 500
    assert back.message.startswith("no [its code ")
    assert "400 to 599" in back.message


@pytest.mark.parametrize("code", [http.HTTPStatus.NOT_FOUND, 400, 599])
def test_a_valid_status_is_kept(code: int) -> None:
    back = arrived(TerminalError("no", code))
    assert (back.code, type(back.code), back.message) == (int(code), int, "no")


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, None),
        ({"a": 1, 2: None, "b": [1]}, {"a": "1", "2": "None", "b": "[1]"}),
        ({"\ud800": "\udfff"}, {"\\ud800": "\\udfff"}),
        ("text", {"metadata": "text"}),
        ([("a", 1)], {"metadata": "[('a', 1)]"}),
        (5, {"metadata": "5"}),
    ],
)
def test_metadata_of_odd_types_becomes_text(metadata: Any, expected: dict[str, str] | None) -> None:
    assert arrived(TerminalError("no", metadata=metadata)).metadata == expected


def test_metadata_that_cannot_be_printed_does_not_hide_the_error() -> None:
    back = arrived(TerminalError("no", metadata={"a": Unprintable()}))  # type: ignore[dict-item]
    assert back.message == "no"
    assert back.metadata is not None and "Unprintable" in back.metadata["a"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("\ud800 lone", "\\ud800 lone"),
        (5, "5"),
        (None, "None"),
        (b"x", "b'x'"),
        (ValueError("inner"), "inner"),
        ("", ""),
        ("a" * 100_000, "a" * 100_000),
    ],
)
def test_messages_of_odd_types_become_text(message: Any, expected: str) -> None:
    error = TerminalError(message)
    assert str(error) == expected
    assert arrived(error).message == expected


def test_a_message_that_cannot_be_printed_does_not_hide_the_error() -> None:
    assert "Unprintable" in arrived(TerminalError(Unprintable())).message  # type: ignore[arg-type]


@pytest.mark.expects_log("SoldOut arrives as OutOfStock")
@pytest.mark.expects_log("WrongAmount arrives as BadArguments")
def test_a_subclass_arrives_as_the_class_that_defined_its_code() -> None:
    class OutOfStock(TerminalError):
        error = "out_of_stock"
        code = 410

    class SoldOut(OutOfStock):
        pass

    class WrongAmount(errors.BadArguments):
        pass

    for raised in (OutOfStock("none left", metadata={"item": "book"}), SoldOut("none left", 410, {"item": "book"})):
        back = arrived(raised)
        assert type(back) is OutOfStock
        assert (str(back), back.error, back.code, back.metadata) == ("none left", "out_of_stock", 410, {"item": "book"})
        assert failure_text(back) == failure_text(raised)
    assert type(arrived(WrongAmount("five"))) is errors.BadArguments
    assert TerminalError.error == "terminal_error"


def test_a_code_that_no_class_has_arrives_as_it_was_said() -> None:
    error = TerminalError("m", 418, {"a": "b"})
    error.error = "elsewhere"
    back = arrived(error)
    assert type(back) is TerminalError
    assert (str(back), back.error, back.code, back.metadata) == ("m", "elsewhere", 418, {"a": "b"})


def defined(name: str, code: Any, base: Any = TerminalError, module: str = "shop") -> Any:
    return type(name, (base,), {"error": code, "__module__": module})


def test_a_code_belongs_to_one_class() -> None:
    first = defined("OutOfStock", "taken")
    with pytest.raises(errors.DefinitionError, match=r"error = 'taken' is already the code of shop\.OutOfStock"):
        defined("SoldOut", "taken")
    with pytest.raises(errors.DefinitionError, match=r"shop\.OutOfStock"):
        defined("OutOfStock", "taken", module="warehouse")
    with pytest.raises(errors.DefinitionError, match=r"shop\.OutOfStock"):
        defined("SoldOut", "taken", base=first)
    assert type(failure_error('{"code": 409, "message": "m", "error": "taken"}')) is first


@pytest.mark.parametrize("name", DEFINED)
def test_no_class_may_take_a_code_of_the_framework(name: str) -> None:
    with pytest.raises(errors.DefinitionError, match=rf"\.{name}"):
        defined("Mine", DEFINED[name].error)
    with pytest.raises(errors.DefinitionError):
        defined(name, DEFINED[name].error)


def test_a_class_that_is_defined_anew_takes_the_place_of_the_old_one() -> None:
    old = defined("OutOfStock", "again")
    new = defined("OutOfStock", "again")
    assert old is not new
    assert type(failure_error('{"code": 409, "message": "m", "error": "again"}')) is new


def test_a_class_that_nothing_refers_to_gives_its_code_back() -> None:
    known = defined("OutOfStock", "given_back")
    del known
    other = defined("SoldOut", "given_back")
    assert type(failure_error('{"code": 409, "message": "m", "error": "given_back"}')) is other


def test_the_constructor_of_a_class_is_not_called_again_on_arrival() -> None:
    class SoldOut(TerminalError):
        error = "sold_out_of_one"

        def __init__(self, item: str) -> None:
            super().__init__(f"{item} is sold out", 409, {"item": item})

        @property
        def item(self) -> str:
            return (self.metadata or {})["item"]

    back = arrived(SoldOut("the book"))
    assert isinstance(back, SoldOut)
    assert (back.item, str(back), back.args) == ("the book", "the book is sold out", ("the book is sold out",))


def test_a_class_that_cannot_be_made_is_a_terminal_error_with_all_it_said() -> None:
    class Closed(TerminalError):
        error = "closed"

        def __new__(cls, *args: Any) -> Any:
            raise RuntimeError("no")

    back = failure_error('{"code": 409, "message": "m", "error": "closed", "metadata": {"a": "b"}}')
    assert type(back) is TerminalError and Closed.error == back.error
    assert (back.message, back.code, back.metadata) == ("m", 409, {"a": "b"})


@pytest.mark.expects_log("OutOfStock arrives as TerminalError")
@pytest.mark.expects_log("Odd arrives as TerminalError")
def test_a_subclass_with_a_constructor_of_its_own_arrives_too() -> None:
    class OutOfStock(TerminalError):
        def __init__(self, item: str) -> None:
            self.item = item

    class Odd(TerminalError):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert arrived(OutOfStock("book")).message == "book"
    assert arrived(Odd("m")).message == "m"


def test_a_failure_of_a_newer_release_is_still_an_error() -> None:
    back = failure_error('{"code": 451, "message": "m", "error": "not_known_yet", "more": [1]}')
    assert type(back) is TerminalError
    assert (back.code, back.message, back.error) == (451, "m", "not_known_yet")


@pytest.mark.parametrize("kind", TERMINAL)
def test_errors_can_be_copied_and_pickled(kind: Any) -> None:
    error = kind("m", 418, {"a": "b"})
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is kind
        assert (again.message, again.code, again.metadata, str(again)) == ("m", 418, {"a": "b"}, "m")


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.DurableTimeout, TimeoutError),
        (errors.SerializationError, TypeError),
        (errors.BadArguments, TypeError),
        (errors.DefinitionError, TypeError),
        (errors.UnknownService, LookupError),
        (errors.UnknownHandler, LookupError),
        (errors.UnknownInvocation, LookupError),
        (errors.UnknownAwakeable, LookupError),
        (errors.BadKey, ValueError),
        (errors.BadId, ValueError),
        (errors.StateWriteRefused, AttributeError),
        (errors.UndeclaredState, AttributeError),
        (errors.AppNotRunning, RuntimeError),
    ],
)
def test_errors_are_the_builtin_ones_a_user_would_catch(kind: type[ActorsError], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)
    assert issubclass(kind, ActorsError)


def test_what_stops_or_pauses_an_invocation_is_not_terminal() -> None:
    for kind in (errors.DeterminismError, errors.StateDecodeError, errors.AppNotRunning):
        assert not issubclass(kind, TerminalError)


def test_the_end_of_an_attempt_is_not_swallowed_by_except_exception() -> None:
    assert not issubclass(AttemptEnded, Exception)
    assert issubclass(AttemptEnded, BaseException)

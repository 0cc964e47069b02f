"""Where an error was raised, as messages name it."""

from __future__ import annotations

import pytest

from actors.model.raised import line_of


def fail() -> None:
    raise ValueError("no")


def test_the_innermost_line_is_named() -> None:
    with pytest.raises(ValueError, match="no") as raised:
        fail()
    assert line_of(raised.value) == f", at test_raised.py:{fail.__code__.co_firstlineno + 1}"


def test_an_error_that_was_not_raised_has_no_line() -> None:
    assert line_of(ValueError("no")) == ""

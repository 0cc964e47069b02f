"""Where executions agree a value must agree with them; where they differ, anything goes."""

from __future__ import annotations

import pytest

from actors.errors import TerminalError
from actors.serde import codec_for
from actors.serde.failures import failure_text
from actors.testing.resemblance import fits, fits_failure


@pytest.mark.parametrize(
    ("value", "results", "is_one"),
    [
        ("1", ["1", "1"], True),
        ("2", ["1", "1"], False),
        ("true", ["1", "1"], False),
        ("7", ["1", "2"], True),
        ('"any"', ["1", "2"], True),
        ('{"id":9,"n":1}', ['{"id":1,"n":1}', '{"id":2,"n":1}'], True),
        ('{"id":9,"n":2}', ['{"id":1,"n":1}', '{"id":2,"n":1}'], False),
        ('{"n":1}', ['{"id":1,"n":1}', '{"id":2,"n":1}'], False),
        ("3", ['{"id":1}', '{"id":2}'], False),
        ("[9,1]", ["[1,1]", "[2,1]"], True),
        ("[9,2]", ["[1,1]", "[2,1]"], False),
        ("[9]", ["[1,1]", "[2,1]"], False),
        ("[9]", ["[1,1]", "[2]"], True),
    ],
)
def test_a_value_fits_where_the_executions_agree(value: str, results: list[str], is_one: bool) -> None:
    assert fits(value, results) is is_one


def test_the_order_in_a_set_does_not_count() -> None:
    codec = codec_for(set[int], "a test")
    assert fits("[2,1]", ["[1,2]", "[1,2]"], codec) and not fits("[2,1]", ["[1,2]", "[1,2]"])
    assert not fits("[3,1]", ["[1,2]", "[2,1]"], codec)
    assert fits("[3,1]", ["[1,2]", "[1,4]"], codec)


def test_failures_are_compared_by_code_and_message() -> None:
    one, other = failure_text(TerminalError("no <a at 0x12>")), failure_text(TerminalError("no <a at 0x34>"))
    assert fits_failure(one, [other, other])
    assert not fits_failure(one, [failure_text(TerminalError("no <a at 0x12>", code=409))])
    assert not fits_failure(one, [failure_text(TerminalError("yes"))])
    assert fits_failure(one, [failure_text(TerminalError("yes")), failure_text(TerminalError("maybe"))])

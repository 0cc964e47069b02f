"""Why a body is not valid JSON: said of every text that is not, and never of one that is."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors.transport.http.arguments import json_fault

PIECES = st.sampled_from(
    ['{"a":', "}", "[", "]", ",", '"ü', '"', "1", "-", ".", "e", "null", "tru", "\n", " ", "\\", "\ufeff"]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_every_text_has_a_fault_or_is_json(text: str) -> None:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        assert json_fault(text)
    else:
        assert json_fault(text) is None


@given(st.lists(st.sampled_from(["ü", "a", " "])).map("".join), st.sampled_from(["\n", "\n\n", " "]))
def test_the_place_counts_lines_and_characters(text: str, between: str) -> None:
    fault = json_fault(f'["{text}",{between}oh]')
    line = between.count("\n") + 1
    column = 1 if line > 1 else len(text) + 6
    assert fault == f"invalid character at line {line}, column {column}: 'oh]'"


def test_what_is_nested_too_deeply_has_no_fault() -> None:
    assert json_fault("[" * 100_000) is None

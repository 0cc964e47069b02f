"""The header that names who waits: anyone may send one."""

from __future__ import annotations

import pytest

from actors.transport.restate.waiters import LONGEST, chain_of, chain_text


@pytest.mark.parametrize("chain", [[], ["Order/a"], ["Order/ü\U0001f40d", 'A/"\n'], [f"O/{n}" for n in range(LONGEST)]])
def test_a_chain_comes_back(chain: list[str]) -> None:
    text = chain_text(chain)
    assert chain_of(text) == chain
    assert text.isascii() and text.isprintable()


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Order/a",
        "null",
        "5",
        '"Order/a"',
        '{"a":1}',
        "[1]",
        '["a",null]',
        '["a"',
        '["a"] x',
        "[" * 100_000,
        '["\ud800"]',
        '["\\ud800"]',
        "\x00",
    ],
)
def test_a_header_that_is_no_list_of_texts_counts_as_empty(header: str) -> None:
    assert chain_of(header) == []


def test_the_outermost_are_dropped_from_a_long_chain() -> None:
    chain = [f"Order/{n}" for n in range(LONGEST + 50)]
    assert chain_of(chain_text(chain)) == chain[50:]
    assert chain_of("[" + ",".join(f'"{name}"' for name in chain) + "]") == chain[50:]

"""What of a prefix is left in the two paths of a request differs between servers and hosts."""

from __future__ import annotations

from typing import Any

import pytest

from actors.transport.http.requests import Request

ABOVE = ["/x/api/C/a%2Fb/h", "/api/C/a%2Fb/h", "/C/a%2Fb/h"]


@pytest.mark.parametrize("raw", ABOVE)
@pytest.mark.parametrize("path", ["/x/api/C/a/b/h", "/C/a/b/h"])
def test_the_path_below_the_prefix_is_found_whatever_is_left_of_the_prefix(raw: str, path: str) -> None:
    assert _path(root_path="/x/api", path=path, raw_path=raw.encode()) == b"/C/a%2Fb/h"


def test_an_object_that_is_named_like_the_prefix_is_not_taken_for_it() -> None:
    assert _path(root_path="/C", path="/C/a/h", raw_path=b"/C/a/h") == b"/a/h"
    assert _path(root_path="/C", path="/C/C/a/h", raw_path=b"/C/a/h") == b"/C/a/h"


def test_what_is_no_utf_8_is_left_to_be_refused() -> None:
    assert _path(root_path="/p", path="/p/C/\ufffd/h", raw_path=b"/p/C/%ff/h") == b"/C/%ff/h"


def _path(**scope: Any) -> bytes:
    async def receive() -> Any:
        raise AssertionError("the path is read without the body")

    return Request({"method": "GET", "headers": [], **scope}, receive, 1).path

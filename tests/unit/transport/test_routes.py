"""What a path means: any key passes through it unharmed, and no path breaks it."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.transport.http.routes import (
    Admin,
    Attach,
    AttachByKey,
    BadRoute,
    Complete,
    Invoke,
    Kind,
    Page,
    Route,
    route,
)

KINDS: dict[str, Kind] = {"C": "object", "T": "service", "W": "workflow", "send": "object", "restate": "object"}
# What has a meaning of its own in a path comes often.
CHARACTERS = st.sampled_from("/%?#.;+ \x00ä") | st.characters(exclude_categories=["Cs"])
TEXTS = st.text(CHARACTERS, min_size=1, max_size=30)

FOUND: list[tuple[str, Route]] = [
    ("/C/k/h", Invoke("C", "k", "h", False)),
    ("/C/k/h/send", Invoke("C", "k", "h", True)),
    ("/C/send/send", Invoke("C", "send", "send", False)),
    ("/C/send/send/send", Invoke("C", "send", "send", True)),
    ("/send/k/h", Invoke("send", "k", "h", False)),
    ("/T/h", Invoke("T", "", "h", False)),
    ("/T/h/send", Invoke("T", "", "h", True)),
    ("/T/send", Invoke("T", "", "send", False)),
    ("/restate/call/C/k/h", Invoke("C", "k", "h", False)),
    ("/restate/send/C/k/h", Invoke("C", "k", "h", True)),
    ("/restate/call/T/h", Invoke("T", "", "h", False)),
    ("/restate/invocation/inv_1/attach", Attach("inv_1", True)),
    ("/restate/invocation/inv_1/output", Attach("inv_1", False)),
    ("/restate/attach/inv_1", Attach("inv_1", True)),
    ("/restate/output/inv_1", Attach("inv_1", False)),
    ("/restate/invocation/C/k/h/i/attach", AttachByKey("C", "k", "h", "i", True)),
    ("/restate/invocation/T/h/i/output", AttachByKey("T", "", "h", "i", False)),
    ("/restate/workflow/W/k/attach", AttachByKey("W", "k", None, None, True)),
    ("/restate/awakeables/prom_1/resolve", Complete("prom_1", True)),
    ("/restate/a/prom_1/reject", Complete("prom_1", False)),
    ("/restate/health", Page("health")),
    ("/openapi.json", Page("openapi.json")),
    ("/docs", Page("docs")),
    ("/restate/admin/a/b", Admin(("a", "b"))),
]


@pytest.mark.parametrize(("path", "meant"), FOUND, ids=[path for path, _ in FOUND])
def test_every_path_of_the_contract_means_what_it_says(path: str, meant: Route) -> None:
    assert route(path.encode(), KINDS.get) == meant


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("", 400, "bad_path"),
        ("C/k/h", 400, "bad_path"),
        ("/C/%zz/h", 400, "bad_path"),
        ("/C/%f/h", 400, "bad_path"),
        ("/C/%ff/h", 400, "bad_path"),
        ("/C//h", 400, "bad_key"),
        ("/", 404, "unknown_path"),
        ("/C/k", 404, "unknown_path"),
        ("/C/k/h/", 404, "unknown_path"),
        ("/C/k/h/send/send", 404, "unknown_path"),
        ("/restate/call/C/k/h/send", 404, "unknown_path"),
        ("/T", 404, "unknown_path"),
        ("/X/k/h", 404, "unknown_service"),
        ("/restate/awakeables/prom_1/forget", 404, "unknown_path"),
        ("/restate/invocation/C/h/i/attach", 404, "unknown_path"),
        ("/restate/health/more", 404, "unknown_path"),
    ],
)
def test_what_means_nothing_is_refused_with_a_status_and_a_code(path: str, status: int, error: str) -> None:
    with pytest.raises(BadRoute) as refused:
        route(path.encode(), KINDS.get)
    assert (refused.value.status, refused.value.error) == (status, error)


@given(key=TEXTS, other=TEXTS, send=st.booleans())
def test_any_key_that_is_percent_encoded_comes_out_as_it_was(key: str, other: str, send: bool) -> None:
    path = f"/C/{quote(key, safe='')}/{quote(other, safe='')}{'/send' if send else ''}".encode()
    assert route(path, KINDS.get) == Invoke("C", key, other, send)
    attach = f"/restate/invocation/W/{quote(key, safe='')}/h/{quote(other, safe='')}/attach".encode()
    assert route(attach, KINDS.get) == AttachByKey("W", key, "h", other, True)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(
            st.sampled_from(
                [
                    b"C",
                    b"T",
                    b"W",
                    b"restate",
                    b"call",
                    b"send",
                    b"invocation",
                    b"attach",
                    b"a",
                    b"%",
                    b"%2F",
                    b"%ff",
                    b"",
                ]
            ),
            max_size=9,
        ).map(lambda parts: b"/" + b"/".join(parts)),
    )
)
def test_no_path_raises_anything_but_bad_route(raw: bytes) -> None:
    try:
        found = route(raw, KINDS.get)
    except BadRoute:
        return
    assert isinstance(found, Route)

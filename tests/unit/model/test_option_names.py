"""Options of the classes that take them: a name that is misspelt and a value that makes no sense are refused at once."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from actors import App, Limits, RetryPolicy, VirtualObject, handler
from actors.errors import DefinitionError
from actors.http_options import Cors, HttpOptions


class Counter(VirtualObject):
    @handler
    async def add(self) -> None: ...


@pytest.mark.parametrize(
    ("cls", "misspelt", "meant"),
    [
        (Limits, "max_pendng", "max_pending"),
        (Limits, "retension", "retention"),
        (RetryPolicy, "max_attempt", "max_attempts"),
        (RetryPolicy, "initial_intervall", "initial_interval"),
        (HttpOptions, "admin_tokens", "admin_token"),
        (HttpOptions, "midleware", "middleware"),
        (Cors, "origin", "origins"),
        (App, "storge", "storage"),
        (App, "limit", "limits"),
    ],
)
def test_a_misspelt_option_is_refused_with_the_name_that_was_meant(cls: Any, misspelt: str, meant: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        cls(**{misspelt: 1})
    assert f"{cls.__name__} has no option {misspelt!r}. Did you mean {meant!r}?" in str(refused.value)
    with pytest.raises(DefinitionError, match=r"has no option 'qqq'\. Its options: "):
        cls(qqq=1)


@pytest.mark.parametrize("cls", [Limits, RetryPolicy])
def test_options_beyond_the_last_are_refused(cls: Any) -> None:
    with pytest.raises(DefinitionError, match=r"takes \d+ options, 50 were given"):
        cls(*range(50))


@pytest.mark.parametrize(
    "options",
    [Limits(max_key=5), RetryPolicy(max_attempts=3), HttpOptions(cors=Cors("*"), token="t"), Cors(["http://a"])],
)
def test_options_can_be_copied_and_pickled(options: Any) -> None:
    assert copy.copy(options) == copy.deepcopy(options) == pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize("name", ["max_key", "max_stored_headers", "max_failure"])
@pytest.mark.parametrize("bad", [0, -1, 1.5, "5", None, True])
def test_a_limit_that_makes_no_sense_is_refused(name: str, bad: Any) -> None:
    with pytest.raises(DefinitionError, match=name):
        Limits(**{name: bad})


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("body_timeout", "5"),
        ("body_timeout", None),
        ("body_timeout", True),
        ("body_timeout", -1),
        ("body_timeout", float("nan")),
        ("admin", "no"),
        ("admin", 0),
        ("max_url", -5),
        ("max_url", "5"),
        ("max_headers", 1.0),
        ("max_header_bytes", True),
        ("token", ""),
        ("token", 5),
        ("admin_token", ["a b"]),
    ],
)
def test_an_http_option_that_makes_no_sense_is_refused(name: str, bad: Any) -> None:
    with pytest.raises(DefinitionError, match=name):
        HttpOptions(**{name: bad})


def test_a_subclass_of_app_may_have_options_of_its_own() -> None:
    class Own(App):
        def __init__(self, *classes: Any, colour: str, **others: Any) -> None:
            super().__init__(*classes, **others)

    assert Own(Counter, colour="red", storage="sqlite://")._life.path == ":memory:"
    with pytest.raises(DefinitionError, match="storage"):
        Own(Counter, colour="red", storage=5)


@pytest.mark.parametrize("bad", [5, "threads", ThreadPoolExecutor])
def test_what_is_no_executor_is_refused(bad: Any) -> None:
    with pytest.raises(DefinitionError, match="requires an Executor"):
        App(Counter, storage="sqlite://", executor=bad)


def test_a_process_pool_is_refused_with_the_way_to_use_one() -> None:
    with ProcessPoolExecutor(1) as processes, pytest.raises(DefinitionError, match="run_in_executor"):
        App(Counter, storage="sqlite://", executor=processes)

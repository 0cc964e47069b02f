"""The examples of the README and examples/orders.py, without a change, on SQLite and on a restate-server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from tests.restate_servers.servers import ROOT, RestateServer, end, free_port, missing, wait_for

PATIENCE_S = 30.0
needs_server = pytest.mark.skipif(missing() is not None, reason=str(missing()))


class Place(Protocol):
    """Where the classes are served."""

    ingress: str

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def output(self) -> str:
        """What the classes have printed."""
        ...


class Process:
    """`actors serve` or `actors restate serve`, with what it prints in a file."""

    def __init__(self, folder: Path, words: list[str], target: str) -> None:
        self.port = free_port()
        self._words = [sys.executable, "-u", "-m", "actors", *words, target, "--port", str(self.port)]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, health: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "README_STORAGE": f"sqlite:///{self._folder}/app.db"}
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self._words, cwd=self._folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        wait_for(f"http://127.0.0.1:{self.port}{health}")

    def end(self, how: signal.Signals) -> None:
        end(self._process, how)
        self._process = None

    def output(self) -> str:
        return (self._folder / "output").read_text(errors="replace")


class OnSqlite:
    def __init__(self, folder: Path, target: str) -> None:
        self._process = Process(folder, ["serve"], target)
        self.ingress = f"http://127.0.0.1:{self._process.port}"
        self.output = self._process.output

    def start(self) -> None:
        self._process.start("/restate/health")

    def kill(self) -> None:
        self._process.end(signal.SIGKILL)

    def stop(self) -> None:
        self._process.end(signal.SIGTERM)


class OnRestate:
    def __init__(self, folder: Path, target: str) -> None:
        self._server = RestateServer(folder / "server")
        self._process = Process(folder, ["restate", "serve"], target)
        self.ingress = self._server.ingress
        self.output = self._process.output
        self._registered = False

    def start(self) -> None:
        self._server.start()
        self._process.start("/health")
        if not self._registered:
            self._server.register(f"http://127.0.0.1:{self._process.port}")
            self._registered = True

    def kill(self) -> None:
        """The endpoint, and the server."""
        self._process.end(signal.SIGKILL)
        self._server.kill()

    def stop(self) -> None:
        self._process.end(signal.SIGTERM)
        self._server.stop()


ENGINES = [pytest.param(OnSqlite, id="sqlite"), pytest.param(OnRestate, id="restate", marks=needs_server)]


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    target = getattr(request.node.function, "target", "tests.restate_servers.readme_app:app")
    place: Any = request.param(tmp_path, target)
    try:
        place.start()
        yield place
    finally:
        place.stop()


def post(place: Place, path: str, value: Any = None) -> httpx.Response:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = httpx.post(f"{place.ingress}/{path}", json=value, timeout=PATIENCE_S)
        started = "make sure to register the service" in answer.text  # a server that has started loads its services
        if not started or time.monotonic() > deadline:
            return answer
        time.sleep(0.05)  # waits for a real process


def called(place: Place, path: str, value: Any = None) -> Any:
    answer = post(place, path, value)
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.content else None


def until(ask: Callable[[], Any]) -> Any:
    """What it answers once that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.05)  # waits for a real process
    return answer


def printed(place: Place, pattern: str) -> str:
    found: re.Match[str] = until(lambda: re.search(pattern, place.output()))
    return found[1]


@pytest.mark.timeout(120)
def test_the_order_of_the_readme_waits_through_a_kill(place: Place) -> None:
    assert called(place, "Order/o1/add", "book") == 1
    post(place, "Order/o1/checkout/send", 9.9)
    id = printed(place, r"please approve (\S+)")
    place.kill()
    place.start()
    assert httpx.post(f"{place.ingress}/restate/awakeables/{id}/resolve", json="approved").status_code == 202
    until(lambda: called(place, "Order/o1/peek") == "approved")
    assert called(place, "Order/o1/add", "pen") == 2
    assert place.output().count("please approve") <= 2, "again only if the kill came before its record"


@pytest.mark.timeout(120)
def test_the_signup_of_the_readme_runs_once(place: Place) -> None:
    first = post(place, "Signup/u1/run/send", "a@b").json()["invocationId"]
    again = post(place, "Signup/u1/run/send", "a@b").json()
    assert (again["invocationId"], again["status"]) == (first, "PreviouslyAccepted")
    until(lambda: called(place, "Signup/u1/peek") == "waiting")
    called(place, "Signup/u1/click", True)
    assert httpx.get(f"{place.ingress}/restate/workflow/Signup/u1/attach", timeout=PATIENCE_S).json() is True
    assert called(place, "Signup/u1/peek") == "done"
    printed(place, r"mail to (a@b)")
    called(place, "Mailer/deliver", "c@d")
    assert place.output().count("mail to a@b") == 1 and "mail to c@d" in place.output()


@pytest.mark.timeout(120)
def test_a_counter_and_a_chain_of_calls_count(place: Place) -> None:
    assert [called(place, "Counter/a/add", n) for n in (1, 2, 3)] == [1, 3, 6]
    assert called(place, "Front/k0/through", ["k1", "k2", "k3"]) == 4
    refused = post(place, "Front/k0/through", ["k1", "k0"])
    assert refused.status_code == 409 and "k0" in refused.json()["message"], "it would wait for itself"


@pytest.mark.timeout(120)
def test_the_order_of_the_example_is_approved_and_refused(place: Place) -> None:
    called(place, "Stock/books/reserve", 95)
    for number in ("o-1", "o-2"):
        post(place, f"Order/{number}/checkout/send", 3)
        id = printed(place, rf"Order {number}: 3 books. The id to approve it: (\S+)")
        assert httpx.post(f"{place.ingress}/restate/awakeables/{id}/resolve", json="mo").status_code == 202
        called(place, f"Order/{number}/finished")
    assert called(place, "Order/o-1/look") == "3 books, complete, approved by mo, 2 books left"
    assert called(place, "Order/o-2/look") == "3 books, refused: only 2 in stock"
    assert post(place, "Order/o-1/checkout", 1).status_code == 409


test_the_order_of_the_example_is_approved_and_refused.target = "tests.restate_servers.orders_app:app"  # type: ignore[attr-defined]

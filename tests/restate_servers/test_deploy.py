"""`actors deploy` and `actors restate releases`, against a restate-server; some of the commands and endpoints are processes."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from actors.cli.restate.descriptions import differences, listed
from tests.restate_servers.endpoints import Endpoints
from tests.restate_servers.releases import COUNTER, WITH_MORE, WITHOUT_WAIT, Releases, releases_in, server_in
from tests.restate_servers.servers import RestateServer, free_port, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

GREETER = """
class Greeter(Service):
    @handler
    async def greet(self, name: str) -> str:
        return f"Hello {name}"
"""
LIMITED = """
class Limited(Service):
    @handler(retry=RetryPolicy(max_duration=60))
    async def work(self) -> None: ...
"""
EVERY_SECOND = """
class Report(VirtualObject):
    ticks: list[str] = []

    @schedule("* * * * * *", key="a/b")
    @handler
    async def make(self, ctx: Context, more: str = "") -> None:
        self.ticks.append(ctx.headers["schedule-due"] + more)

    @shared
    async def seen(self) -> list[str]:
        return self.ticks
"""
UNSCHEDULED = EVERY_SECOND.replace('    @schedule("* * * * * *", key="a/b")\n', "")
NIGHTLY = """
class Cleaner(Service):
    @schedule("0 3 * * *", tz="Europe/Vienna", misfire="skip")
    @handler
    async def clean(self) -> None: ...
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestateServer]:
    with server_in(tmp_path_factory.mktemp("restate")) as server:
        yield server


@pytest.fixture(scope="module")
def endpoints() -> Iterator[Endpoints]:
    endpoints = Endpoints()
    yield endpoints
    endpoints.close()


@pytest.fixture
def releases(tmp_path: Path, server: RestateServer, endpoints: Endpoints) -> Iterator[Releases]:
    with releases_in(tmp_path, server, endpoints) as releases:
        yield releases


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)  # waits for real processes


def opened(releases: Releases) -> int:
    return sum(one["open"] for one in releases.run("restate", "releases", "--json").json())


# --- descriptions -----------------------------------------------------------------------------------------------------


def test_differences_name_handlers_before_classes() -> None:
    here = {"A": {"handlers": {"x": 1, "y": 2}}, "B": {"handlers": {}}, "C": {"doc": 1, "handlers": {}}}
    there = {"A": {"handlers": {"y": 3, "z": 4}}, "C": {"doc": 2, "handlers": {}}, "D": {"handlers": {}}}
    assert differences(here, there) == [
        "B is missing there",
        "D is there only",
        "A/x is missing there",
        "A/z is there only",
        "A/y differs",
        "C differs",
    ]
    assert differences(here, here) == []


def test_a_long_list_of_differences_is_cut() -> None:
    assert listed([f"C{number}" for number in range(7)]) == "C0, C1, C2, C3, C4, and 2 more"
    assert listed(["C0"]) == "C0"


# --- a release ----------------------------------------------------------------------------------------------------------


def test_a_release_is_registered_and_its_classes_can_be_called(releases: Releases) -> None:
    target = releases.write("first", COUNTER, GREETER)
    url = releases.serve_process(target)
    done = releases.run_process(*releases.deploying(target, url))
    assert done.code == 0, done.err
    assert re.fullmatch(rf"Registered: Counter, Greeter at {url}, deployment dp_\w+\.\n", done.out)
    assert releases.call("Counter/a/add", 5) == 5


def test_deploying_a_release_twice_keeps_it(releases: Releases) -> None:
    target = releases.write("twice", COUNTER)
    url = releases.serve(target)
    first = releases.deploy(target, url, "--json").json()
    again = releases.deploy(target, url, "--json").json()
    assert (first["new"], again["new"]) == (True, False) and first["deployment"] == again["deployment"]
    assert releases.deploy(target, url).out == (
        f"Known already: Counter at {url}, deployment {first['deployment']}. Classes and handlers are as they were registered. "
        "Changes inside handlers are not compared: if open invocations must not meet them, deploy under a URL of its own.\n"
    )
    assert len(releases.run("restate", "releases", "--json").json()) == 1


def test_a_dry_run_registers_nothing(releases: Releases) -> None:
    target = releases.write("dry", COUNTER, NIGHTLY)
    done = releases.deploy(target, releases.serve(target), "--dry-run")
    assert done.code == 0 and done.out.startswith("Would register Cleaner, Counter, actors-schedule at ")
    assert "  schedule Cleaner/clean at 0 3 * * * Europe/Vienna: would be placed\n" in done.out
    assert releases.run("restate", "releases").out.startswith("The server knows no release.")


def test_a_release_under_its_own_url_leaves_open_invocations_behind(releases: Releases) -> None:
    old, new = releases.write("v1", COUNTER), releases.write("v2", WITH_MORE)
    old_url, new_url = releases.serve(old), releases.serve(new)
    first = releases.deploy(old, old_url, "--json").json()
    releases.call("Counter/a/wait/send")
    wait_until(lambda: opened(releases) == 1)
    done = releases.deploy(new, new_url)
    assert done.code == 0, done.err
    assert f"1 open invocation on the earlier release {first['deployment']}: keep its endpoint at {old_url}" in done.out
    assert releases.call("Counter/b/get") == 0


def test_another_release_behind_a_known_url_is_refused(releases: Releases) -> None:
    old, new = releases.write("old", COUNTER), releases.write("new", WITH_MORE)
    port = free_port()
    url = releases.serve(old, port=port)
    assert releases.deploy(old, url).code == 0
    releases.end_endpoints()
    releases.serve(new, port=port)
    refused = releases.deploy(new, url)
    assert refused.code == 1
    assert (
        "is registered with another release: Counter/get is missing there. Deploy this one under a URL of"
        in refused.err
    )
    refused = releases.deploy(old, url)
    assert refused.code == 1
    assert "serves another release: Counter/get is there only. Start this code under a URL of its own" in refused.err
    forced = releases.deploy(new, url, "--force")
    assert forced.code == 0 and forced.out.startswith("Registered again: Counter at ")
    assert releases.call("Counter/a/get") == 0


def test_a_release_that_was_replaced_is_not_the_current_one(releases: Releases) -> None:
    old, new = releases.write("before", COUNTER), releases.write("after", WITH_MORE)
    old_url = releases.serve(old)
    first = releases.deploy(old, old_url, "--json").json()["deployment"]
    second = releases.deploy(new, releases.serve(new), "--json").json()["deployment"]
    refused = releases.deploy(old, old_url)
    assert refused.code == 1 and f"the later release {second} has replaced it for Counter. To go back" in refused.err
    assert releases.deploy(old, old_url, "--force", "--breaking").code == 0
    rows = releases.run("restate", "releases", "--json").json()
    assert {row["id"]: row["current"] for row in rows} == {first: ["Counter"], second: []}


def test_an_endpoint_with_another_release_is_refused(releases: Releases) -> None:
    served, here = releases.write("served", COUNTER), releases.write("here", WITH_MORE, GREETER)
    url = releases.serve(served)
    refused = releases.deploy(here, url)
    assert refused.code == 1 and refused.err == (
        f"Error: The endpoint at {url} serves another release: Greeter is missing there, Counter/get is missing there. "
        "Start it with this code first.\n"
    )
    assert releases.run("restate", "releases", "--json").json() == []


def test_a_changed_default_of_a_retry_policy_is_another_release(releases: Releases) -> None:
    served = releases.write("patient", COUNTER)
    here = releases.write("impatient", COUNTER.replace("@handler", "@handler(retry=RetryPolicy(max_attempts=3))"))
    refused = releases.deploy(here, releases.serve(served))
    assert refused.code == 1 and "Counter/add differs, Counter/wait differs" in refused.err


def test_a_removed_handler_requires_breaking(releases: Releases) -> None:
    old, new = releases.write("with_wait", COUNTER), releases.write("without_wait", WITHOUT_WAIT)
    assert releases.deploy(old, releases.serve(old)).code == 0
    url = releases.serve(new)
    refused = releases.deploy(new, url)
    assert refused.code == 1 and "removes or changes Counter/wait. Calls" in refused.err and "--breaking" in refused.err
    assert releases.deploy(new, url, "--breaking").code == 0


def test_another_kind_of_class_requires_breaking(releases: Releases) -> None:
    old, new = releases.write("keyed", COUNTER), releases.write("keyless", GREETER.replace("Greeter", "Counter"))
    assert releases.deploy(old, releases.serve(old)).code == 0
    url = releases.serve(new)
    refused = releases.deploy(new, url)
    assert refused.code == 1 and "Counter, which is of another kind" in refused.err
    assert releases.deploy(new, url, "--breaking").code == 0


def test_a_class_that_a_known_url_loses_requires_breaking(releases: Releases) -> None:
    old, new = releases.write("two", COUNTER, GREETER), releases.write("less", COUNTER)
    port = free_port()
    url = releases.serve(old, port=port)
    assert releases.deploy(old, url).code == 0
    releases.end_endpoints()
    releases.serve(new, port=port)
    refused = releases.deploy(new, url, "--force")
    assert refused.code == 1 and "removes or changes Greeter. " in refused.err
    assert releases.deploy(new, url, "--force", "--breaking").code == 0


def test_a_policy_that_restate_does_not_know_is_refused(releases: Releases) -> None:
    target = releases.write("limited", LIMITED)
    refused = releases.deploy(target, "http://127.0.0.1:1")
    assert refused.code == 1
    assert refused.err == (
        "Error: Limited.work: RetryPolicy(max_duration=...) is not supported on Restate. Use max_attempts.\n"
    )


def test_an_endpoint_that_does_not_stream_is_deployed_with_http1(releases: Releases) -> None:
    target = releases.write("plain", COUNTER)
    url = releases.serve_process(target, "--http1")
    refused = releases.deploy(target, url)
    assert refused.code == 1 and refused.err.startswith(
        f"Error: The endpoint at {url} does not stream: it was started with --http1, or is served by a host that cannot. Deploy "
        "it with --http1 as well. The restate-server at "
    )
    assert releases.deploy(target, url, "--http1").code == 0
    assert releases.call("Counter/a/add") == 1


def test_http1_is_refused_for_an_endpoint_that_streams(releases: Releases) -> None:
    target = releases.write("streams", COUNTER)
    refused = releases.deploy(target, releases.serve(target), "--http1")
    assert refused.code == 1 and "streams over HTTP/2. Deploy it without --http1" in refused.err


def test_an_endpoint_that_is_started_in_another_mode_says_so(releases: Releases) -> None:
    target, port = releases.write("modes", COUNTER), free_port()
    url = releases.serve(target, port=port)
    assert releases.deploy(target, url).code == 0
    releases.end_endpoints()
    releases.serve_process(target, "--http1", port=port)
    refused = releases.deploy(target, url, "--http1")
    assert refused.code == 1 and refused.err == (
        f"Error: {url} is registered as an endpoint that streams, and is served with --http1 now. Start it without --http1, "
        "deploy it under a URL of its own, or use --force.\n"
    )
    assert releases.deploy(target, url, "--http1", "--force").code == 0
    releases.end_endpoints()
    releases.serve(target, port=port)
    refused = releases.deploy(target, url)
    assert refused.code == 1 and "is registered with --http1, and streams now. Start it with --http1," in refused.err


def signing_key(folder: Path) -> tuple[Path, str]:
    """A private key in a file, and its public half as Restate writes it."""
    path = folder / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)], check=True, capture_output=True)
    public = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout[-32:]
    number, text = int.from_bytes(public, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + text
    return path, f"publickeyv1_{text}"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_an_endpoint_for_signed_requests_is_compared_by_the_server(tmp_path: Path, endpoints: Endpoints) -> None:
    private, public = signing_key(tmp_path)
    environment = {"RESTATE_REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE": str(private)}
    with server_in(tmp_path / "server", environment) as server, releases_in(tmp_path, server, endpoints) as releases:
        served, here = releases.write("signed", COUNTER), releases.write("unsigned", WITH_MORE)
        plain = releases.serve_process(served, "--identity-key", public, "--http1")
        refused = releases.deploy(served, plain)
        assert refused.code == 1 and "If the endpoint was started with --http1, deploy it with --http1." in refused.err
        url = releases.serve_process(served, "--identity-key", public)
        refused = releases.deploy(here, url)
        assert refused.code == 1 and "serves another release: Counter/get is missing there." in refused.err
        assert releases.deploy(served, url).code == 0
        assert releases.call("Counter/a/add") == 1
        assert releases.deploy(served, url).out.startswith("Known already: Counter at ")


# --- what is not there --------------------------------------------------------------------------------------------------


def test_a_url_without_an_endpoint_is_named(releases: Releases) -> None:
    target = releases.write("alone", COUNTER)
    url = f"http://127.0.0.1:{free_port()}"
    refused = releases.deploy(target, url)
    assert refused.code == 1 and refused.err.startswith(f"Error: No endpoint answers at {url} (")


def test_something_else_than_an_endpoint_is_refused(releases: Releases) -> None:
    target = releases.write("wrong", COUNTER)
    refused = releases.deploy(target, releases.server.ingress)
    assert refused.code == 1 and "answers, but not as an endpoint of this release" in refused.err


def test_a_server_that_is_not_there_is_named_with_its_option(releases: Releases) -> None:
    target = releases.write("serverless", COUNTER)
    url = f"http://127.0.0.1:{free_port()}"
    refused = releases.deploy(target, "http://127.0.0.1:1", "--restate", url)
    assert refused.code == 1 and f"No restate-server answers at {url} (" in refused.err and "--restate" in refused.err


def test_an_ingress_that_is_not_there_leaves_schedules_to_be_placed(releases: Releases) -> None:
    target = releases.write("no_ingress", NIGHTLY)
    url, nowhere = releases.serve(target), f"http://127.0.0.1:{free_port()}"
    refused = releases.run("deploy", target, "--at", url, "--ingress", nowhere)
    known = releases.run("restate", "releases", "--json").json()[0]["id"]
    assert refused.code == 1 and refused.err == (
        f"Error: The release is registered as deployment {known}, but not all of its schedules are in place: no "
        f"restate-server answers at {nowhere}. Name the URL where callers reach the server with --ingress, and deploy again.\n"
    )
    done = releases.deploy(target, url, "--json").json()
    assert done["schedules"] == {"Cleaner/clean at 0 3 * * * Europe/Vienna": "placed"}


def test_errors_are_json_on_request(releases: Releases) -> None:
    target = releases.write("failing", COUNTER)
    refused = releases.deploy(target, "http://127.0.0.1:1", "--json")
    assert refused.code == 1 and '{"error": "server_unreachable", "message": "No endpoint answers' in refused.err


@pytest.mark.parametrize("arguments", [["nothing:app", "--at", "http://h"], ["x:app"], ["x:app", "--at", "nonsense"]])
def test_wrong_usage_ends_with_exit_code_2(releases: Releases, arguments: list[str]) -> None:
    assert releases.run("deploy", *arguments).code == 2


def test_an_endpoint_without_the_extra_says_what_to_install(releases: Releases) -> None:
    target = releases.write("no_extra", COUNTER)
    refused = releases.run_process("restate", "serve", target, hidden=("restate",))
    assert refused.code == 2 and "pip install 'virtual-actors[restate]'" in refused.err


def test_deploy_does_not_require_the_extra(releases: Releases) -> None:
    target = releases.write("no_sdk", COUNTER)
    done = releases.run_process(*releases.deploying(target, releases.serve(target)), hidden=("restate", "granian"))
    assert done.code == 0, done.err


# --- schedules ----------------------------------------------------------------------------------------------------------


def ticks(releases: Releases) -> list[str]:
    seen: list[str] = releases.call("Report/a%2Fb/seen")
    return seen


def test_a_schedule_fires_is_kept_and_is_withdrawn(releases: Releases) -> None:
    first, second = releases.write("scheduled", EVERY_SECOND), releases.write("unscheduled", UNSCHEDULED)
    url = releases.serve(first)
    name = "Report/a/b/make at * * * * * * UTC"
    assert releases.deploy(first, url, "--json").json()["schedules"] == {name: "placed"}
    wait_until(lambda: len(ticks(releases)) >= 2)
    made = ticks(releases)  # once: on a slow machine another one comes meanwhile
    assert len(set(made)) == len(made)
    assert releases.deploy(first, url, "--json").json()["schedules"] == {name: "kept"}
    dry = releases.deploy(second, releases.serve(second), "--dry-run", "--json").json()
    assert dry["schedules"] == {name: "withdrawn"}
    done = releases.deploy(second, releases.serve(second), "--json").json()
    assert done["schedules"] == {name: "withdrawn"}
    wait_until(lambda: opened(releases) == 0)
    seen = ticks(releases)
    time.sleep(1.5)  # the next tick would have come
    assert ticks(releases) == seen


def test_a_changed_schedule_is_placed_and_a_removed_one_withdrawn(releases: Releases) -> None:
    hourly = NIGHTLY.replace("0 3", "0 *")
    first, second = releases.write("nightly", NIGHTLY, COUNTER), releases.write("hourly", hourly, COUNTER)
    assert releases.deploy(first, releases.serve(first)).code == 0
    done = releases.deploy(second, releases.serve(second), "--json").json()
    assert done["schedules"] == {
        "Cleaner/clean at 0 * * * * Europe/Vienna": "placed",
        "Cleaner/clean at 0 3 * * * Europe/Vienna": "withdrawn",
    }


def test_schedules_of_a_removed_class_are_withdrawn(releases: Releases) -> None:
    first, second = releases.write("both", NIGHTLY, COUNTER), releases.write("one", COUNTER)
    assert releases.deploy(first, releases.serve(first)).code == 0
    releases.end_endpoints()  # no endpoint serves the schedule any more
    done = releases.deploy(second, releases.serve(second), "--json").json()
    assert done["schedules"] == {"Cleaner/clean at 0 3 * * * Europe/Vienna": "withdrawn"}
    assert releases.server.query("SELECT * FROM state WHERE service_name = 'actors-schedule'") == []


def test_schedules_of_another_app_are_left_in_place(releases: Releases) -> None:
    first, second = releases.write("mine", NIGHTLY), releases.write("yours", COUNTER)
    assert releases.deploy(first, releases.serve(first)).code == 0
    assert releases.deploy(second, releases.serve(second), "--json").json()["schedules"] == {}


def test_an_endpoint_of_one_app_runs_the_schedules_of_another(releases: Releases) -> None:
    first, second = releases.write("reports", EVERY_SECOND), releases.write("cleaning", NIGHTLY)
    assert releases.deploy(first, releases.serve(first)).code == 0
    assert releases.deploy(second, releases.serve(second)).code == 0
    before = len(ticks(releases))
    wait_until(lambda: len(ticks(releases)) >= before + 3)


# --- releases -----------------------------------------------------------------------------------------------------------


def test_releases_are_listed_with_their_open_invocations(releases: Releases) -> None:
    old, new = releases.write("a1", COUNTER, GREETER), releases.write("a2", COUNTER)
    old_url, new_url = releases.serve(old), releases.serve(new)
    assert releases.deploy(old, old_url).code == 0
    releases.call("Counter/a/wait/send")
    wait_until(lambda: opened(releases) == 1)
    assert releases.deploy(new, new_url).code == 0
    releases.call("Counter/later/add/send?delay=1h")
    wait_until(lambda: opened(releases) == 2)
    rows = releases.run("restate", "releases", "--json").json()
    assert [(row["url"].rstrip("/"), row["open"], row["current"]) for row in rows] == [
        (old_url, 1, ["Greeter"]),
        (new_url, 1, ["Counter"]),
    ]
    shown = releases.run("restate", "releases").out.splitlines()
    assert shown[0].split() == ["deployment", "url", "registered", "open", "current", "release", "of"]
    assert shown[1].split()[-2:] == ["1", "Greeter"]


def test_a_release_with_open_invocations_is_not_removed(releases: Releases) -> None:
    old, new = releases.write("b1", COUNTER), releases.write("b2", COUNTER)
    id = releases.deploy(old, releases.serve(old), "--json").json()["deployment"]
    invocation = releases.call("Counter/a/wait/send")["invocationId"]
    wait_until(lambda: opened(releases) == 1)
    assert releases.deploy(new, releases.serve(new)).code == 0
    refused = releases.run("restate", "releases", "--remove", id, "--force")
    assert refused.code == 1 and f"{id} has 1 open invocation, which could not go on." in refused.err
    httpx.patch(f"{releases.server.admin}/invocations/{invocation}/kill")
    wait_until(lambda: opened(releases) == 0)
    done = releases.run("restate", "releases", "--remove", id)
    assert done.code == 0 and done.out == f"{id} removed\n"
    assert releases.call("Counter/a/add") == 1


def test_the_current_release_of_a_class_is_removed_by_force_only(releases: Releases) -> None:
    target = releases.write("current", COUNTER)
    id = releases.deploy(target, releases.serve(target), "--json").json()["deployment"]
    refused = releases.run("restate", "releases", "--remove", id)
    assert (
        refused.code == 1
        and f"{id} is the current release of Counter: without it calls of these classes" in refused.err
    )
    assert releases.run("restate", "releases", "--remove", id, "--force", "--json").json()["outcome"] == "removed"
    assert releases.run("restate", "releases", "--json").json() == []


def test_an_unknown_deployment_is_not_removed(releases: Releases) -> None:
    refused = releases.run("restate", "releases", "--remove", "dp_1")
    assert refused.code == 1 and refused.err == "Error: Unknown deployment 'dp_1'. Known deployments: none.\n"

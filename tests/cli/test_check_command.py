"""`actors check`, as a release pipeline runs it: in a folder with the code and a copy of the data."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

TIMEOUT = 60
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}

FIRST = """
import asyncio, sys
from decimal import Decimal
from actors import App, Context, VirtualObject, handler, run

class Order(VirtualObject):
    total: Decimal = Decimal(0)
    status: str = "new"

    @handler
    async def add(self, euros: int) -> None:
        self.total += euros

    @handler
    async def checkout(self, ctx: Context, note: str) -> str:
        self.status = "waiting"
        await ctx.run(mail, note)
        self.status = await ctx.awakeable(str)
        return self.status

def mail(note: str) -> None:
    with open("outbox.txt", "a") as file:
        print(note, file=file)

app = App(Order, storage="sqlite:///shop.db")

async def main() -> None:
    async with app:
        for key in sys.argv[1:]:
            await app.object(Order, key).add(5)
            await app.object(Order, key).checkout.send(key)
        while len(await app.awakeables()) < len(sys.argv[1:]):
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        sys.stdin.read()

if __name__ == "__main__":
    run(main())
"""

SECOND = """
import os, sys, time
from decimal import Decimal
from typing import Any
from actors import App, Context, VirtualObject, handler, migration

class Order(VirtualObject, version=2):
    total: int = 0
    status: str = "new"

    @migration(from_version=1)
    @staticmethod
    def in_cents(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "total": int(Decimal(state["total"]) * 100)}

    @handler
    async def checkout(self, ctx: Context, note: str) -> str:
        self.status = "waiting"
        print("a line of the handler")
        behave(note)
        await ctx.run(mail, note)
        self.status = await ctx.awakeable(str)
        return self.status

def behave(note: str) -> None: ...

def mail(note: str) -> None:
    raise SystemExit("a step was executed")

app = App(Order, storage="sqlite:///shop.db")
nothing = 5
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "first.py").write_text(FIRST)
    (tmp_path / "second.py").write_text(SECOND)
    return tmp_path


@contextmanager
def serving(shop: Path, *keys: str) -> Iterator[subprocess.Popen[str]]:
    """The first release runs, with an open checkout of each of these orders."""
    command = [sys.executable, "first.py", *keys]
    process = subprocess.Popen(command, cwd=shop, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        process.communicate("", timeout=TIMEOUT)
    finally:
        process.kill()
        process.communicate()


def changed(shop: Path, body: str) -> None:
    """A third release, whose `behave` does this."""
    behave = "def behave(note: str) -> None:\n" + textwrap.indent(textwrap.dedent(body), "    ")
    (shop / "third.py").write_text(SECOND.replace("def behave(note: str) -> None: ...", behave))


def check(shop: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "actors", "check", *arguments]
    return subprocess.run(
        command, cwd=shop, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def report(shop: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = check(shop, *arguments, "--json")
    return done.returncode, json.loads(done.stdout)


def content(shop: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in shop.glob("shop.db*") if not path.name.endswith("-shm")}


def test_a_release_that_fits_ends_with_0_and_touches_nothing(shop: Path) -> None:
    with serving(shop, "a", "b"):
        pass
    before, mails = content(shop), (shop / "outbox.txt").read_text()
    done = check(shop, "second:app")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "2 objects, 2 open invocations, 2 of them replayed.",
        "2 objects hold state of an older version and would be migrated.",
        "Nothing would break.",
    ]
    assert done.stderr.splitlines() == ["a line of the handler"] * 2, "not between the lines of the report; and no bar"
    code, found = report(shop, "second:app")
    assert code == 0 and found == {
        "ok": True,
        "counts": {"objects": 2, "outdated": 2, "unserved": 0, "invocations": 2, "replayed": 2},
        "problems": {},
        "findings": [],
    }
    without_lock = {name: data for name, data in content(shop).items() if not name.endswith(".lock")}
    assert without_lock == {name: data for name, data in before.items() if not name.endswith(".lock")}
    assert (shop / "outbox.txt").read_text() == mails


def test_a_release_that_does_not_fit_ends_with_1_and_shows_where(shop: Path) -> None:
    with serving(shop, "a"):
        pass
    (shop / "third.py").write_text(SECOND.replace("await ctx.run(mail, note)", "await ctx.sleep(1)"))
    done = check(shop, "third:app")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    id = lines[3].split()[-1]
    assert lines == [
        "The code does not fit the journal (1)",
        "",
        "  Order/a/checkout",
        f"    invocation  {id}",
        "    entry       2",
        "    recorded    run 'mail'",
        "    asked now   sleep 1 s",
        "",
        "1 object, 1 open invocation, 1 of them replayed.",
        "1 object holds state of an older version and would be migrated.",
        "1 problem: 1 journal.",
    ]
    assert id.startswith("inv_1")
    code, found = report(shop, "third:app", "--limit", "1")
    assert code == 1 and found["ok"] is False and found["problems"] == {"journal": 1}
    (finding,) = found["findings"]
    assert (finding["index"], finding["recorded"], finding["asked"]) == (2, "run 'mail'", "sleep 1 s")


def test_a_report_fits_the_columns_it_is_given_cuts_no_id_and_is_not_padded(shop: Path) -> None:
    key = "a key of many words, longer than any terminal is wide, with \x1b[31mcolours and a\nline"
    with serving(shop, key):
        pass
    (shop / "third.py").write_text(FIRST.replace("total: Decimal = Decimal(0)", "total: list[int] = []"))
    code, found = report(shop, "third:app")
    assert code == 1 and found["problems"] == {"state": 1}, "told once, and not for the invocation again"
    command = [sys.executable, "-m", "actors", "check"]
    for columns in ("40", "80", None):
        environment = {name: value for name, value in ENVIRONMENT.items() if name != "COLUMNS"}
        if columns is not None:
            environment["COLUMNS"] = columns
        done = subprocess.run(
            [*command, "third:app"],
            cwd=shop,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        lines = done.stdout.splitlines()
        assert "\x1b" not in done.stdout and all(line == line.rstrip() for line in lines)
        text = " ".join(done.stdout.split())
        assert "1 open invocation would be paused for that." in text
        assert "class Order(VirtualObject, version=2) with @migration(from_version=1)" in text
        told = [line for line in lines if "no longer fits" in line and "paused for that" in line]
        assert bool(told) == (columns is None), "in a pipe it is one line"
        if columns is not None:
            assert max(len(line) for line in lines if key[:5] not in line) <= int(columns)


def test_the_wrong_file_and_a_damaged_one_are_not_what_was_to_be_checked(shop: Path) -> None:
    with serving(shop, "a"):
        pass
    other = "from actors import *\nclass Cart(VirtualObject):\n    @handler\n    async def x(self) -> None: ...\n"
    (shop / "other.py").write_text(other + 'app = App(Cart, storage="sqlite:///shop.db")')
    wrong = check(shop, "other:app")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert (
        "no records of the classes of this app (stored: Order; served: Cart). Check the path of the file."
        in wrong.stderr
    )
    data = bytearray((shop / "shop.db").read_bytes())
    data[3 * 1024 : 20 * 1024] = b"\xff" * 17 * 1024
    (shop / "bad.db").write_bytes(data)
    damaged = check(shop, "first:app", "--db", "bad.db")
    assert (damaged.returncode, damaged.stdout) == (2, "")
    (line,) = damaged.stderr.splitlines()
    assert "bad.db cannot be read as a database" in line and "Restore it from a backup" in line
    assert "copy.db" not in line


def test_handlers_that_never_yield_block_or_end_the_process_are_reported_and_the_rest_is_checked(shop: Path) -> None:
    keys = ["a-fits", "b-spins", "c-exits", "d-blocks", "e-stubborn", "f-fits", "g-raises"]
    with serving(shop, *keys):
        pass
    changed(
        shop,
        """
        if "spins" in note:
            while True: pass
        if "exits" in note:
            os._exit(9)
        if "blocks" in note:
            time.sleep(3600)
        if "stubborn" in note:
            while True:
                try: time.sleep(3600)
                except BaseException: pass
        if "raises" in note:
            sys.exit("no")
        """,
    )
    code, found = report(shop, "third:app", "--timeout", "0.2")
    kinds = {finding["key"]: finding["kind"] for finding in found["findings"]}
    assert code == 1
    assert {key: kinds[key] for key in ("b-spins", "c-exits", "d-blocks")} == {
        "b-spins": "timeout",
        "c-exits": "crash",
        "d-blocks": "timeout",
    }
    # Three of one handler are enough: a file with a million of them would never end.
    assert kinds["e-stubborn"] == kinds["f-fits"] == kinds["g-raises"] == "timeout"
    assert found["counts"]["replayed"] == 1 and found["counts"]["objects"] == len(keys)
    messages = {finding["key"]: finding["message"] for finding in found["findings"]}
    assert "an endless loop, or a blocking call" in messages["b-spins"]
    assert "ended with code 9" in messages["c-exits"]
    assert "Skipped: 3 others of Order.checkout" in messages["f-fits"]


def test_a_migration_that_never_ends_is_reported_too(shop: Path) -> None:
    with serving(shop, "a"):
        pass
    (shop / "third.py").write_text(SECOND.replace("return {**state", "while True: pass\n        return {**state"))
    code, found = report(shop, "third:app", "--timeout", "0.2")
    assert code == 1 and found["problems"] == {"timeout": 2}, "of the object's state, and of its invocation"
    assert [finding["handler"] for finding in found["findings"]] == [None, "checkout"]


def test_while_the_app_runs_its_pid_is_named_and_a_copy_can_be_checked(shop: Path) -> None:
    with serving(shop, "a") as process:
        refused = check(shop, "second:app")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert f"shop.db is in use by process {process.pid}. Stop it, or check a backup of the file" in refused.stderr
        source, copy = sqlite3.connect(shop / "shop.db"), sqlite3.connect(shop / "copy.db")
        source.backup(copy)
        source.close()
        copy.close()
        assert check(shop, "second:app", "--db", "copy.db").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Missing argument"),
        (("second",), "'second' is not a valid target. Use module:app"),
        (("second:",), "is not a valid target"),
        (("nowhere:app",), "There is no module 'nowhere'"),
        (("second.more:app",), "There is no module 'second.more'"),
        (("broken:app",), "ZeroDivisionError"),
        (("ends:app",), "ends the process when it is imported"),
        (("needs:app",), "No module named 'not_there'"),
        (("second:nothing",), "'nothing' in the module 'second' is not an App: its type is int. It has second:app."),
        (("second:Order",), "'Order' is a VirtualObject class; name the App: second:app"),
        (("second.py:app",), "Use second:app, without .py."),
        (("./shops/second.py:app",), "Use shops.second:app, without .py."),
        (("starts:app",), "Importing 'starts' starts the app. Put run(main()) under if __name__ == '__main__':"),
        (("starts_too:app",), "Importing 'starts_too' starts the app."),
        (("second:other",), "There is no 'other' in the module 'second'. It has second:app."),
        (("second:app",), "does not exist"),
        (("second:app", "--db", "second.py"), "is not an SQLite database"),
        (("second:app", "--db", "empty.db"), "is empty: no app has used it yet"),
        (("second:app", "--db", "."), "is a directory"),
        (("memory:app",), "in memory only. Name the file"),
        (("second:app", "--timeout", "0"), "--timeout"),
    ],
)
def test_mistakes_on_the_command_line_end_with_2_and_one_message(
    arguments: tuple[str, ...], says: str, shop: Path
) -> None:
    (shop / "broken.py").write_text("1 / 0\n")
    (shop / "starts.py").write_text(FIRST.replace('if __name__ == "__main__":', "if True:"))
    (shop / "starts_too.py").write_text("import asyncio\nasync def main(): ...\nasyncio.run(main())")
    (shop / "ends.py").write_text("raise SystemExit(0)\n")
    (shop / "needs.py").write_text("import not_there\n")
    (shop / "memory.py").write_text(SECOND.replace("sqlite:///shop.db", "sqlite://"))
    (shop / "empty.db").touch()
    done = check(shop, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr, done.stderr
    if "starts" in says:
        assert len(done.stderr.splitlines()) == 1, "no traceback, and no warning"


def test_a_module_that_starts_its_app_leaves_no_warning_of_a_coroutine_behind(shop: Path) -> None:
    """Asked without the process that checks, which is stopped before it could warn."""
    (shop / "starts.py").write_text(FIRST.replace('if __name__ == "__main__":', "if True:"))
    script = (
        "import asyncio\n"
        "from actors.cli.target import BadTarget, load_app\n"
        "async def main():\n"
        "    try: load_app('starts:app')\n"
        "    except BadTarget as error: print(error)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=shop, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert (done.stdout[:31], done.stderr) == ("Importing 'starts' starts the a", "")


@contextmanager
def spinning(shop: Path) -> Iterator[subprocess.Popen[str]]:
    """A check that is in the middle of a handler which never ends."""
    with serving(shop, "a"):
        pass
    changed(shop, 'print("spins", flush=True)\nwhile True: pass')
    command = [sys.executable, "-m", "actors", "check", "third:app", "--timeout", "600"]
    (shop / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(shop / "temporary")}
    process = subprocess.Popen(
        command, cwd=shop, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        lines = [process.stderr.readline(), process.stderr.readline()]
        assert lines == ["a line of the handler\n", "spins\n"]
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_killed_check_leaves_no_process_behind(shop: Path) -> None:
    with spinning(shop) as process:
        process.kill()
        assert process.stderr is not None
        process.stderr.read()  # ends when nobody holds the other end any more, the process that spins included


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_check_ends_at_once_and_leaves_nothing(shop: Path, number: signal.Signals) -> None:
    with spinning(shop) as process:
        process.send_signal(number)
        out, errors = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out, errors) == (130, "", "")
        assert not list((shop / "temporary").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_bar_and_the_report_stays_clean(shop: Path) -> None:
    with serving(shop, "a"):
        pass
    main, terminal = os.openpty()
    try:
        command = [sys.executable, "-m", "actors", "check", "first:app"]
        done = subprocess.run(
            command,
            cwd=shop,
            env={**ENVIRONMENT, "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=terminal,
            check=False,
        )
        os.set_blocking(main, False)
        shown = ""
        with suppress(BlockingIOError):
            while True:  # a terminal hands out a page at a time
                shown += os.read(main, 100_000).decode()
    finally:
        os.close(main)
        os.close(terminal)
    assert "Checking" in shown and "2/2" in shown
    assert b"Checking" not in done.stdout and b"Nothing would break." in done.stdout


def test_a_thread_that_the_module_leaves_running_does_not_keep_the_report(shop: Path) -> None:
    endless = "\nimport threading\nthreading.Thread(target=threading.Event().wait).start()\n"
    (shop / "threaded.py").write_text((shop / "first.py").read_text() + endless)
    with serving(shop):
        pass
    ended = check(shop, "threaded:app")
    assert (ended.returncode, ended.stderr) == (0, "")

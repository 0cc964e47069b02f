"""One file has one owner: lock, pid, and the fencing epoch behind them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.storage import DatabaseInUse, OwnershipLost, SqliteStore, StorageError, Visitor
from actors.storage.sqlite import lock, range_locks
from actors.storage.sqlite.snapshot import take
from tests.storage.rows import OpenStore, batch, column, create, entry, image, invocation, plain, shell

OWNER = """
import asyncio, sys
from actors.storage import Batch, SqliteStore

async def main() -> None:
    store = SqliteStore(sys.argv[1])
    await store.open()
    await store.commit(Batch(1, state=[("Order", "k", "status", '"paid"')]))
    print("owner", flush=True)
    sys.stdin.read()
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns tmp_path/app.db and has committed to it."""
    arguments = [sys.executable, "-c", OWNER, str(tmp_path / "app.db")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owner\n"
        yield process
        process.kill()


async def test_a_second_process_is_told_who_owns_the_file(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(DatabaseInUse) as caught:
        await SqliteStore(str(tmp_path / "app.db")).open()
    assert caught.value.pid == owner.pid
    assert str(owner.pid) in str(caught.value)
    assert "storage=" in str(caught.value), "the message says what to do"


async def test_the_refused_process_changes_nothing(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    before = {found.name: found.read_bytes() for found in tmp_path.iterdir()}
    with pytest.raises(DatabaseInUse):
        await SqliteStore(str(path)).open()
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == before


async def test_the_lock_ends_with_a_process_that_is_killed(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    async with OpenStore(str(tmp_path / "app.db")) as store:
        assert store.opened.epoch == 2
        (record,) = await store.load_objects([("Order", "k")])
        assert record.state == {"status": '"paid"'}


# A process of another container: there it has the number that this process has here, often 1.
NAMESAKE = """
import fcntl, sys
from actors.storage.sqlite import lock, range_locks

path, pid = sys.argv[1], int(sys.argv[2])
with open(path + ".lock", "r+") as name, open(path, "r+b") as database:
    fcntl.flock(name, fcntl.LOCK_EX)
    name.write(f"{pid}\\n".ljust(64))
    name.flush()
    range_locks.take(database.fileno(), lock._OWNER_AT, pid, shared=False)
    print("owner", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def owned_by_namesake(path: Path) -> Iterator[None]:
    arguments = [sys.executable, "-c", NAMESAKE, str(path), str(os.getpid())]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owner\n"
        yield
        process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="processes have one number there")
@pytest.mark.parametrize("name", ["app.db", "link.db"])
async def test_an_owner_in_another_container_with_the_pid_of_this_process_is_another_process(
    name: str, tmp_path: Path
) -> None:
    await create(tmp_path / "app.db")
    (tmp_path / "link.db").hardlink_to(tmp_path / "app.db")
    with owned_by_namesake(tmp_path / "app.db"):
        with pytest.raises(DatabaseInUse, match="is in use by another process") as caught:
            await SqliteStore(str(tmp_path / name)).open()
        assert caught.value.pid is None


async def test_a_symbolic_link_is_the_same_file(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "other.db").symlink_to("app.db")
    with pytest.raises(DatabaseInUse):
        await SqliteStore(str(tmp_path / "other.db")).open()


def hard_link(path: Path, other: Path) -> None:
    other.hardlink_to(path)


def bind_mount(path: Path, other: Path) -> None:
    """As `docker -v app.db:/data/app.db` does: one file of a folder, seen in another one."""
    other.touch()
    try:
        subprocess.run(["mount", "--bind", str(path), str(other)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")


Naming = Callable[[Path, Path], None]
under_two_names = pytest.mark.parametrize("name_it", [hard_link, bind_mount])


@pytest.fixture
def other_name(tmp_path: Path) -> Iterator[Path]:
    other = tmp_path / "other" / "app.db"
    other.parent.mkdir()
    yield other
    subprocess.run(["umount", str(other)], check=False, capture_output=True)  # it says so if nothing is mounted there


@pytest.mark.skipif(not range_locks.AVAILABLE, reason="this system refuses files with several names instead")
@under_two_names
async def test_one_file_has_one_owner_under_any_name(
    name_it: Naming, owner: subprocess.Popen[str], tmp_path: Path, other_name: Path
) -> None:
    name_it(tmp_path / "app.db", other_name)
    before = image(tmp_path / "app.db")
    with pytest.raises(DatabaseInUse, match="under another name") as caught:
        await SqliteStore(str(other_name)).open()
    assert caught.value.pid == owner.pid and str(owner.pid) in str(caught.value)
    for asks in (True, False):  # its log lies beside the other name, so not even reading is right here
        with pytest.raises(DatabaseInUse, match="under another name") as caught:
            await Visitor(str(other_name)).enter(asks=asks)
        assert caught.value.pid == owner.pid
    with pytest.raises(DatabaseInUse, match="under another name"):
        take(str(other_name), str(tmp_path / "copy.db"))
    assert image(tmp_path / "app.db") == before
    owner.kill()
    owner.wait()
    async with OpenStore(str(tmp_path / "app.db")) as store:
        (record,) = await store.load_objects([("Order", "k")])
        assert record.state == {"status": '"paid"'}


@under_two_names
async def test_one_process_owns_a_file_once_under_any_name(name_it: Naming, tmp_path: Path, other_name: Path) -> None:
    await create(tmp_path / "app.db")
    name_it(tmp_path / "app.db", other_name)
    if not range_locks.AVAILABLE:
        with pytest.raises(StorageError, match="names"):
            await SqliteStore(str(tmp_path / "app.db")).open()
        return
    async with OpenStore(str(tmp_path / "app.db")) as store:
        with pytest.raises(DatabaseInUse, match="another App of this process, under another name") as caught:
            await SqliteStore(str(other_name)).open()
        assert caught.value.pid == os.getpid()
        await store.commit(batch(invocations=[invocation(1)]))
    async with OpenStore(str(other_name)) as store:
        assert await store.invocation(1) == invocation(1)


async def test_a_file_that_is_put_there_between_look_and_lock_counts_too(tmp_path: Path) -> None:
    """A start that is told by the open file, and not by its name, whose it is: it must not close it again."""
    async with OpenStore(str(tmp_path / "app.db")) as store:
        other = lock.FileLock(str(tmp_path / "other.db"))
        (tmp_path / "other.db").hardlink_to(tmp_path / "app.db")
        with pytest.raises(DatabaseInUse, match="another App of this process, under another name"):
            other.create()
        other.release()
        (descriptor,) = store._lock._to_close[-1:]  # type: ignore[union-attr]
        assert os.path.sameopenfile(descriptor, store._lock.database)  # type: ignore
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


async def test_a_second_store_of_the_same_process_is_refused_too(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")):
        with pytest.raises(DatabaseInUse) as caught:
            await SqliteStore(str(tmp_path / "app.db")).open()
        assert caught.value.pid == os.getpid()


async def test_opening_a_store_twice_leaves_the_first_opening_usable(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        with pytest.raises(DatabaseInUse):
            await store.open()
        await store.commit(batch(invocations=[invocation(1)]))
        assert await store.invocation(1) == invocation(1)


async def test_a_closed_store_frees_the_file_and_can_be_closed_again(tmp_path: Path) -> None:
    first = SqliteStore(str(tmp_path / "app.db"))
    await first.open()
    await first.close()
    await first.close()
    async with OpenStore(str(tmp_path / "app.db")):
        pass


async def test_a_failed_opening_frees_the_file(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(b"this is not a database")
    with pytest.raises(StorageError):
        await SqliteStore(str(path)).open()
    path.unlink()
    async with OpenStore(str(path)):
        pass


async def test_each_opening_has_a_higher_epoch_and_numbers_never_given_out_before(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        async with OpenStore(str(tmp_path / "app.db")) as store:
            seen.append((store.opened.epoch, store.opened.next_number))
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    numbers = [number for _, number in seen]
    assert all(later - earlier >= 1_000_000 for earlier, later in itertools.pairwise(numbers))


async def test_a_batch_can_raise_the_bound_of_numbers_given_out(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(reserve_to=7_000_000))
    async with OpenStore(str(tmp_path / "app.db")) as store:
        assert store.opened.next_number == 7_000_000


async def test_the_secret_stays_the_same_and_differs_between_files(tmp_path: Path) -> None:
    secrets = []
    for name in ("a.db", "a.db", "b.db"):
        async with OpenStore(str(tmp_path / name)) as store:
            secrets.append(store.opened.secret)
    assert secrets[0] == secrets[1] != secrets[2]
    assert len(secrets[0]) == 32


async def test_a_store_that_was_overtaken_writes_nothing_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with OpenStore(str(path)) as old:
        await old.commit(batch(1, invocations=[invocation(1)]))
        with shell(path) as new:  # nothing that respects the lock does that
            new.execute("UPDATE meta SET value = 2 WHERE name = 'epoch'")
            late = batch(
                2,
                invocations=[invocation(2)],
                journal=[entry(2, 1)],
                state=[("Order", "k", "status", '"late"')],
                timers=[(1, 2, 3, 4)],
                reserve_to=9_000_000,
            )
            with pytest.raises(OwnershipLost, match=r"owner number 1.*owner number 2"):
                await old.commit(late)
            with pytest.raises(OwnershipLost):
                await old.commit(batch(3))
            with pytest.raises(OwnershipLost, match=r"owner number 1.*owner number 2"):
                await old.commit(batch(4, plain=[plain(invocation(4))], state=[("Order", "k", "n", "1")]))
        with shell(path) as connection:
            assert column(connection.execute("SELECT seq FROM invocation")) == [1]
            for table in ("journal_entry", "object_state", "timer"):
                assert column(connection.execute(f"SELECT count(*) FROM {table}")) == [0]


async def test_a_closed_store_refuses_reads_and_commits(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "app.db"))
    with pytest.raises(StorageError, match="closed"):
        await store.commit(batch())
    await store.open()
    await store.close()
    with pytest.raises(StorageError, match="closed"):
        await store.commit(batch())
    with pytest.raises(StorageError, match="closed"):
        await store.load_objects([("Order", "k")])


async def test_a_store_in_memory_needs_no_file_and_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with OpenStore(":memory:") as one, OpenStore(":memory:") as other:
        await one.commit(batch(invocations=[invocation(1)]))
        assert await one.invocation(1) == invocation(1)
        assert await other.invocation(1) is None
    assert list(tmp_path.iterdir()) == []


# --- what a fork shares -----------------------------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

# Each runs in a process of its own: a fork of the test process would carry pytest along. `fork` prints the child's pid.
FORKING = """
import asyncio, os, sys, time
from actors.storage import DatabaseInUse, SqliteStore
from actors.storage.sqlite.lock import FileLock

def fork(act=lambda: time.sleep(60)):
    child = os.fork()
    if child == 0:
        act()
        os._exit(0)
    return child

async def main(path):
    store = SqliteStore(path)
    await store.open()
"""


@contextlib.contextmanager
def forking(body: str, path: Path) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """A process that has run `body` up to where it waits, and a function for the next line it prints."""
    script = FORKING + textwrap.indent(body, "    ") + "\nasyncio.run(main(sys.argv[1]))"
    arguments = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline
        finally:
            process.kill()


@contextlib.contextmanager
def killed_at_the_end(pid: int) -> Iterator[None]:
    try:
        os.kill(pid, 0)  # it lives
        yield
        os.kill(pid, 0)  # and still does
    finally:
        os.kill(pid, signal.SIGKILL)


@needs_fork
async def test_the_lock_ends_with_a_killed_process_whose_forked_child_lives_on(tmp_path: Path) -> None:
    # The child says that it is there: before that it may not have come to what it does after a fork.
    body = "fork(lambda: (print(os.getpid(), flush=True), time.sleep(60)))\ntime.sleep(60)"
    with forking(body, tmp_path / "app.db") as (owner, line), killed_at_the_end(int(line())):
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        async with OpenStore(str(tmp_path / "app.db")) as store:
            assert store.opened.epoch == 2


async def test_the_lock_ends_with_a_killed_process_whose_subprocess_lives_on(tmp_path: Path) -> None:
    body = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
print(child.pid, flush=True)
time.sleep(60)
"""
    with forking(body, tmp_path / "app.db") as (owner, line), killed_at_the_end(int(line())):
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        async with OpenStore(str(tmp_path / "app.db")) as store:
            assert store.opened.epoch == 2


@needs_fork
async def test_a_lock_that_a_dead_process_has_left_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:  # noqa: ASYNC220
        pass
    left = lock.FileLock(str(tmp_path / "app.db"))
    (tmp_path / "app.db.lock").write_text(f"{ended.pid}\n")
    asyncio.get_running_loop().call_soon(left.release)
    async with OpenStore(str(tmp_path / "app.db")) as store:
        assert store.opened.epoch == 1


@needs_fork
async def test_a_process_can_close_and_open_again_while_a_forked_child_lives(tmp_path: Path) -> None:
    body = """
print(fork(), flush=True)
await store.close()
try:
    print((await store.open()).epoch, flush=True)
except DatabaseInUse as error:
    print(error, flush=True)
time.sleep(60)
"""
    with forking(body, tmp_path / "app.db") as (_, line), killed_at_the_end(int(line())):
        assert line() == "2\n"


@needs_fork
async def test_a_forked_child_neither_holds_nor_releases_the_lock(tmp_path: Path) -> None:
    body = """
def act():
    store._lock.release()
    try:
        FileLock(path)
    except DatabaseInUse as error:
        print(error.pid == os.getppid(), flush=True)

os.waitpid(fork(act), 0)
print("done", flush=True)
time.sleep(60)
"""
    with forking(body, tmp_path / "app.db") as (owner, line):
        assert (line(), line()) == ("True\n", "done\n")
        with pytest.raises(DatabaseInUse) as caught:
            await SqliteStore(str(tmp_path / "app.db")).open()
        assert caught.value.pid == owner.pid


@needs_fork
def test_a_released_lock_is_free_whoever_still_shares_its_descriptor(tmp_path: Path) -> None:
    held = lock.FileLock(str(tmp_path / "app.db"))
    assert held._name is not None and not os.get_inheritable(held._name)
    shared = os.dup(held._name)  # what a fork below Python, which runs none of its hooks, leaves in the child
    try:
        held.release()
        lock.FileLock(str(tmp_path / "app.db")).release()
    finally:
        os.close(shared)


@needs_fork
def test_locks_that_are_gone_leave_nothing_behind(tmp_path: Path) -> None:
    gc.collect()
    before = len(lock._held)
    held = lock.FileLock(str(tmp_path / "app.db"))
    assert len(lock._held) == before + 1
    with pytest.raises(DatabaseInUse) as caught:
        lock.FileLock(str(tmp_path / "app.db"))
    held.release()
    del held, caught
    gc.collect()
    assert len(lock._held) == before


def _descriptors() -> set[int]:
    def is_open(descriptor: int) -> bool:
        try:
            os.fstat(descriptor)
        except OSError:
            return False
        return True

    return {descriptor for descriptor in range(1024) if is_open(descriptor)}


@pytest.mark.skipif(sys.platform == "win32", reason="a lock there needs no look at the database")
def test_a_refusal_beside_an_owner_leaves_no_file_open(tmp_path: Path) -> None:
    before = _descriptors()
    late = lock.FileLock(str(tmp_path / "other.db"))
    owner = lock.FileLock(str(tmp_path / "app.db"))
    owner.create()
    late.path = owner.path  # it had looked before there was an owner
    assert late._name is not None
    os.close(late._name)
    late._open_name()
    with pytest.raises(DatabaseInUse) as caught:
        late._lock_name()
    assert caught.value.pid == os.getpid()
    owner.release()
    late.release()
    assert _descriptors() == before

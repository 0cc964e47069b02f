"""Threads that do not keep the process: an executor like the one of the standard library otherwise."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator

import pytest

from actors.engine.daemon_threads import DaemonThreads


@contextlib.contextmanager
def no_more_threads() -> Iterator[None]:
    """The system refuses to start a thread: none has room for such a stack."""
    before = threading.stack_size(1 << 47)
    try:
        yield
    finally:
        threading.stack_size(before)


def test_results_and_errors_arrive() -> None:
    threads = DaemonThreads(2, "test")
    assert threads.submit(pow, 2, 5).result(5) == 32
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(5)
    with pytest.raises(SystemExit):
        threads.submit(exit).result(5)
    assert threads.submit(pow, 2, 5, mod=7).result(5) == 4, "its thread has survived"
    threads.shutdown()


def test_no_more_threads_than_allowed_run_and_idle_ones_are_used_again() -> None:
    threads, go, names = DaemonThreads(3, "test"), threading.Event(), set[str]()

    def wait() -> None:
        names.add(threading.current_thread().name)
        go.wait(5)

    jobs = [threads.submit(wait) for _ in range(20)]
    go.set()
    for job in jobs:
        job.result(5)
    assert len(names) <= 3 and all(name.startswith("test_") for name in names)
    threads.shutdown()
    single = DaemonThreads(8, "test")
    idents = set()
    for _ in range(5):
        idents.add(single.submit(threading.get_ident).result(5))
        while not single._idle:
            pass
    assert len(idents) == 1
    single.shutdown()


def test_its_threads_are_daemons() -> None:
    threads = DaemonThreads(1, "test")
    assert threads.submit(lambda: threading.current_thread().daemon).result(5)
    threads.shutdown()


def test_shutting_down_cancels_what_waits_and_refuses_more() -> None:
    threads, go, begun = DaemonThreads(1, "test"), threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        go.wait(5)
        return "done"

    first, second = threads.submit(wait), threads.submit(wait)
    begun.wait(5)
    threads.shutdown(wait=False, cancel_futures=True)
    assert second.cancelled() and not first.done()
    with pytest.raises(RuntimeError):
        threads.submit(wait)
    go.set()
    assert first.result(5) == "done"
    threads.shutdown(wait=True)


def test_what_waits_is_done_before_a_shutdown_without_cancelling() -> None:
    threads = DaemonThreads(1, "test")
    jobs = [threads.submit(pow, 2, n) for n in range(5)]
    threads.shutdown(wait=True)
    assert [job.result(0) for job in jobs] == [1, 2, 4, 8, 16]


def test_an_idle_thread_holds_nothing_of_its_last_function() -> None:
    class Large:
        def __call__(self) -> Large:
            return self

    threads = DaemonThreads(1, "test")
    large = Large()
    threads.submit(large).result(5)
    gone = weakref.ref(large)
    del large
    while not threads._idle:
        pass
    assert gone() is None
    threads.shutdown()


def test_a_refused_function_is_not_called_later() -> None:
    threads, called = DaemonThreads(2, "test"), list[int]()
    with no_more_threads(), pytest.raises(RuntimeError):
        threads.submit(called.append, 1)
    threads.submit(called.append, 2).result(5)
    threads.shutdown()
    assert called == [2]


def test_a_function_waits_while_no_further_thread_can_be_started() -> None:
    threads, go = DaemonThreads(2, "test"), threading.Event()
    first = threads.submit(go.wait, 5)
    with no_more_threads():
        second = threads.submit(threading.get_ident)
    go.set()
    assert first.result(5) and second.result(5)
    threads.shutdown()


def test_a_function_that_waited_for_a_thread_leaves_none_idle() -> None:
    threads, go, end = DaemonThreads(2, "test"), threading.Event(), threading.Event()
    first, begun = threads.submit(go.wait, 5), threading.Event()

    def wait() -> None:
        begun.set()
        end.wait(30)

    with no_more_threads():
        second = threads.submit(wait)
    go.set()
    first.result(5)
    begun.wait(5)
    assert threads.submit(pow, 2, 5).result(5) == 32, "it waits behind a busy thread"
    end.set()
    second.result(5)
    threads.shutdown()

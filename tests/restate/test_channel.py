"""The two byte streams of a request: who is woken by what, and what is sent when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.transport.restate.channel import Channel, Disconnected
from actors.transport.restate.machine import Headers


class Wire:
    """A machine that only moves bytes, and both ends of an ASGI request."""

    def __init__(self, ready_after: int = 1) -> None:
        self.input: list[bytes] = []
        self.output = b""
        self.ended = 0
        self.ready_after = ready_after
        self.sent: list[dict[str, Any]] = []
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        machine: Any = self
        self.channel = Channel(self.messages.get, self._send, machine, "test/1")

    def response_head(self) -> tuple[int, Headers]:
        return 200, [("content-type", "application/x-test")]

    def add_input(self, data: bytes) -> None:
        self.input.append(data)

    def end_input(self) -> None:
        self.ended += 1

    def take_output(self) -> bytes:
        output, self.output = self.output, b""
        return output

    def ready(self) -> bool:
        return len(self.input) >= self.ready_after

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def arrive(self, body: bytes, more: bool = True) -> None:
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def hang_up(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_journal_is_read_as_a_whole_before_anything_begins() -> None:
    wire = Wire(ready_after=2)
    begun = asyncio.ensure_future(wire.channel.begin())
    wire.arrive(b"a")
    await turns()
    assert not begun.done()
    wire.arrive(b"b")
    wire.arrive(b"c")
    await begun
    assert wire.input == [b"a", b"b"] and not wire.ended


async def test_a_request_that_ends_too_early_ends_the_reading() -> None:
    wire = Wire(ready_after=2)
    wire.arrive(b"a", more=False)
    await wire.channel.begin()
    assert wire.input == [b"a"]


async def test_a_server_that_hangs_up_is_noticed_while_reading() -> None:
    wire = Wire()
    wire.hang_up()
    with pytest.raises(Disconnected):
        await wire.channel.begin()


async def test_a_wake_before_the_wait_is_not_lost() -> None:
    wire = Wire()
    wire.channel.wake()
    await wire.channel.wait()
    waiting = asyncio.ensure_future(wire.channel.wait())
    await turns()
    assert not waiting.done(), "one wake, one wait"
    wire.channel.wake()
    await waiting
    wire.channel.close()


async def test_a_wake_during_the_wait_leaves_the_reading_under_way() -> None:
    wire = Wire()
    waiting = asyncio.ensure_future(wire.channel.wait())
    await turns()
    wire.channel.wake()
    await waiting
    wire.arrive(b"x")
    await wire.channel.wait()
    assert wire.input == [b"x"]


async def test_input_ends_a_wait_and_a_late_wake_does_not_count_twice() -> None:
    wire = Wire()
    wire.arrive(b"x")
    await wire.channel.wait()
    assert wire.input == [b"x"]
    waiting = asyncio.ensure_future(wire.channel.wait())
    await turns()
    assert not waiting.done()
    wire.hang_up()
    with pytest.raises(Disconnected):
        await waiting


async def test_after_the_end_of_input_only_a_wake_ends_a_wait() -> None:
    wire = Wire()
    wire.arrive(b"x", more=False)
    await wire.channel.wait()
    waiting = asyncio.ensure_future(wire.channel.wait())
    await turns()
    assert not waiting.done() and wire.messages.empty()
    wire.channel.wake()
    await waiting


async def test_output_is_sent_behind_one_head() -> None:
    wire = Wire()
    await wire.channel.flush()
    assert wire.sent == []
    wire.output = b"one"
    await wire.channel.flush()
    await wire.channel.flush()
    wire.output = b"two"
    await wire.channel.end(streams=False)
    assert wire.sent == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/x-test"), (b"x-restate-server", b"test/1")],
        },
        {"type": "http.response.body", "body": b"one", "more_body": True},
        {"type": "http.response.body", "body": b"two", "more_body": False},
    ]


async def test_a_response_without_output_has_a_head_too() -> None:
    wire = Wire()
    await wire.channel.end(streams=False)
    assert [message["type"] for message in wire.sent] == ["http.response.start", "http.response.body"]


async def test_a_stream_ends_after_the_request_but_sends_before() -> None:
    wire = Wire()
    wire.output = b"last"
    ending = asyncio.ensure_future(wire.channel.end(streams=True))
    await turns()
    assert [message.get("body") for message in wire.sent] == [None, b"last"] and not ending.done()
    wire.arrive(b"ignored")
    await turns()
    assert not ending.done()
    wire.arrive(b"", more=False)
    await ending
    assert wire.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert wire.input == []


async def test_the_end_of_a_stream_takes_over_a_reading_under_way() -> None:
    wire = Wire()
    waiting = asyncio.ensure_future(wire.channel.wait())
    await turns()
    wire.channel.wake()
    await waiting
    ending = asyncio.ensure_future(wire.channel.end(streams=True))
    await turns()
    wire.arrive(b"", more=False)
    await ending
    assert wire.sent[-1]["more_body"] is False


async def test_a_server_that_hangs_up_gets_no_end() -> None:
    wire = Wire()
    wire.hang_up()
    with pytest.raises(Disconnected):
        await wire.channel.end(streams=True)
    assert wire.sent == []


async def test_a_reading_under_way_is_given_up_with_the_channel() -> None:
    wire = Wire()
    waiting = asyncio.ensure_future(wire.channel.wait())
    await turns()
    wire.channel.wake()
    await waiting
    wire.channel.close()
    await turns()
    wire.arrive(b"x")
    assert wire.messages.qsize() == 1, "nothing takes it"


async def test_a_look_decides_whether_input_ends_a_wait() -> None:
    wire = Wire()
    looked: list[bytes] = []

    def look() -> bool:
        looked.append(wire.input[-1])
        return wire.input[-1] == b"news"

    waiting = asyncio.ensure_future(wire.channel.wait(look))
    wire.arrive(b"old")
    await turns()
    assert looked == [b"old"] and not waiting.done()
    wire.arrive(b"news")
    await waiting
    assert looked == [b"old", b"news"]
    wire.arrive(b"x")
    await wire.channel.wait()
    assert len(looked) == 2, "only the wait that has a look looks"
    wire.channel.close()


async def test_an_error_of_a_look_is_raised_by_the_wait() -> None:
    wire = Wire()

    def look() -> bool:
        raise ValueError("broken")

    wire.arrive(b"x")
    with pytest.raises(ValueError, match="broken"):
        await wire.channel.wait(look)
    wire.channel.close()


async def test_a_wait_with_a_look_ends_with_the_input() -> None:
    wire = Wire()
    wire.arrive(b"x", more=False)
    await wire.channel.wait(lambda: False)
    assert wire.input == [b"x"]


async def test_a_message_without_a_body_ends_no_wait() -> None:
    wire = Wire()
    waiting = asyncio.ensure_future(wire.channel.wait())
    wire.arrive(b"")
    await turns()
    assert not waiting.done()
    wire.arrive(b"x")
    await waiting
    wire.channel.close()


async def test_what_was_heeded_ends_no_wait() -> None:
    wire = Wire()
    wire.channel.wake()
    wire.channel.heed()
    waiting = asyncio.ensure_future(wire.channel.wait())
    await turns()
    assert not waiting.done()
    wire.channel.wake()
    await waiting
    wire.channel.close()

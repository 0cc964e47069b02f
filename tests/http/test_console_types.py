"""What the page expects of an answer is what the app answers: facts.d.ts, read here, against real answers."""

from __future__ import annotations

import datetime
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors import App, Context, RetryPolicy, VirtualObject, handler
from actors.errors import TerminalError
from tests.http.asgi import ask
from tests.http.watching import Watching

FACTS = Path(__file__).parents[2] / "transport" / "console" / "facts.d.ts"
ADMIN = "/restate/admin"


class Types:
    """The interfaces of facts.d.ts: of each its fields, with their types as texts."""

    def __init__(self, text: str) -> None:
        self.of: dict[str, dict[str, str]] = {}
        text = re.sub(r" *//.*", "", text)
        for name, base, body in re.findall(r"export interface (\w+)(?: extends ([^{]+))? \{\n(.*?)\n\}", text, re.S):
            own = dict(re.findall(r"^  (\w+\??): (.+);$", body, re.M))
            assert len(own) == len(body.splitlines()), f"{name} has a field that is not read"
            inherited = self._inherited(base)
            self.of[name] = {f: t for f, t in inherited.items() if not {f.rstrip("?"), f"{f}?"} & set(own)} | own

    def _inherited(self, base: str) -> dict[str, str]:
        if not base:
            return {}
        if found := re.fullmatch(r"Partial<(\w+)>", base):
            return {f"{field.rstrip('?')}?": type for field, type in self.of[found[1]].items()}
        if found := re.fullmatch(r'Omit<(\w+), "(\w+)">', base):
            return {field: type for field, type in self.of[found[1]].items() if field != found[2]}
        return self.of[base]

    def faults(self, value: Any, type: str, place: str) -> list[str]:
        """Where the value is not of the type."""
        alternatives = re.findall(r"(?:\{[^}]*\}|[^|{}])+", type)
        if len(alternatives) > 1:
            each = [self.faults(value, part.strip(), place) for part in alternatives]
            return [] if [] in each else max(each, key=len)
        if type.endswith("[]"):
            if not isinstance(value, list):
                return [f"{place}: {value!r} is not a list"]
            return [fault for i, one in enumerate(value) for fault in self.faults(one, type[:-2], f"{place}[{i}]")]
        if type.startswith("{"):
            return self._of_fields(
                value, {field: kind.strip() for field, kind in re.findall(r"(\w+\??): ([^;{}]+)", type)}, place
            )
        if type in self.of:
            return self._of_fields(value, self.of[type], place)
        right = {
            "string": isinstance(value, str),
            "number": isinstance(value, (int, float)) and not isinstance(value, bool),
            "boolean": isinstance(value, bool),
            "null": value is None,
            "Instant": isinstance(value, str) and is_instant(value),
        }[type]  # KeyError: a type that is written here for the first time
        return [] if right else [f"{place}: {value!r} is not of the type {type}"]

    def _of_fields(self, value: Any, fields: dict[str, str], place: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{place}: {value!r} has no names"]
        found = []
        for field, type in fields.items():
            name = field.rstrip("?")
            if name in value:
                found += self.faults(value[name], type, f"{place}.{name}")
            elif name == field:
                found.append(f"{place}.{name} is missing")
        return found


def is_instant(text: str) -> bool:
    try:
        return datetime.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


TYPES = Types(FACTS.read_text(encoding="utf-8"))


class Leaf(VirtualObject):
    @handler
    async def work(self, what: int) -> int:
        return what

    @handler
    async def refuse(self) -> None:
        raise TerminalError("Refused.", code=409)

    @handler(retry=RetryPolicy(max_attempts=1))
    async def fail(self, ctx: Context) -> None:
        await ctx.run(explode)


class Root(VirtualObject):
    @handler
    async def wait(self, ctx: Context) -> str:
        await ctx.object(Leaf, "l").work(1)
        return await ctx.awakeable(str)


def explode() -> None:
    raise ConnectionError("upstream refused")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[tuple[App, dict[str, str]]]:
    async with App(Root, Leaf, storage=f"sqlite:///{tmp_path / 'a.db'}") as app:
        sent = {
            "blocked": await app.object(Root, "r").wait.send(),
            "behind": await app.object(Root, "r").wait.send(),
            "ended": await app.object(Leaf, "l").work.send(1),
            "failed": await app.object(Leaf, "l").refuse.send(),
            "paused": await app.object(Leaf, "p").fail.send(),
        }
        ids = {name: handle.id for name, handle in sent.items()}
        wanted = {"blocked": "blocked", "ended": "succeeded", "failed": "failed", "paused": "paused"}
        while {name: (await app.describe(ids[name])).status for name in wanted} != wanted:
            pass
        yield app, ids


ANSWERS = {
    "Whoami": ["/whoami"],
    "Overview": ["/overview"],
    "Trouble": ["/trouble?older=0"],
    "Diagnosis": ["/doctor?id={blocked}", "/doctor?id={behind}", "/doctor?id={paused}"],
    "Page": ["/invocations", "/invocations?error=upstream", "/invocations?roots=1"],
    "WholeInvocation": [f"/invocations/{{{name}}}?values=text" for name in ("blocked", "ended", "failed", "paused")],
    "Family": ["/invocations/{blocked}/family", "/invocations/{ended}/family"],
}


PAUSES = pytest.mark.expects_log("is paused. It is tried again")


@PAUSES
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_has_the_types_that_the_page_expects(name: str, app: tuple[App, dict[str, str]]) -> None:
    running, ids = app
    for path in ANSWERS[name]:
        answer = await ask(running, "GET", ADMIN + path.format(**ids))
        assert answer.status == 200, answer.body
        assert TYPES.faults(answer.json, name, path) == []


@PAUSES
@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("overview", "Overview"),
        ("trouble", "TroubleEvent"),
        ("newer:status=paused", "NewerEvent"),
        ("invocation:{blocked}", "InvocationEvent"),
    ],
)
async def test_an_event_has_the_types_that_the_page_expects(
    topic: str, name: str, app: tuple[App, dict[str, str]]
) -> None:
    running, ids = app
    async with Watching(running, topic.format(**ids)) as page:
        event, value = await page.next() or ("", None)
        assert event == topic.partition(":")[0]
        assert TYPES.faults(value, name, topic) == []


def test_each_type_is_held_against_an_answer() -> None:
    text = FACTS.read_text(encoding="utf-8")
    direct = {*ANSWERS, "TroubleEvent", "NewerEvent", "InvocationEvent"}
    parts = {name for name in TYPES.of if re.search(rf"(: |extends |<){name}\b", text)}
    assert set(TYPES.of) == direct | parts


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"topic": "t", "count": "1"}, "e.count: '1' is not of the type number"),
        ({"topic": "t"}, "e.count is missing"),
        ([], "e: [] has no names"),
    ],
)
def test_a_wrong_answer_is_found(value: Any, fault: str) -> None:
    assert TYPES.faults(value, "NewerEvent", "e") == [fault]

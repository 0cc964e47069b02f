"""Random chains of versions, random state, random open invocations, upgrades in random hops, crashes at any commit.

* What a handler finds first is the composition of the migrations, applied to what the object held when it began: before
  an upgrade and after each, in every attempt.
* In the end an object holds that, with the handler's own writes over it; or exactly that, if the handler is atomic and fails.
* One big hop and several small ones lead to the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actors import Context, TerminalError, VirtualObject, handler, migration
from actors.errors import AppNotRunning
from actors.storage import StorageError
from tests.world import World

State = dict[str, Any]
NAMES = ["a", "b", "c"]


def _scaled(name: str) -> Callable[[State], State]:
    return lambda state: {n: v * 2 if n == name else v for n, v in state.items()}


def _renamed(name: str) -> Callable[[State], State]:
    other = NAMES[(NAMES.index(name) + 1) % len(NAMES)]
    return lambda state: {other if n == name else n: v for n, v in state.items()}


def _dropped(name: str) -> Callable[[State], State]:
    return lambda state: {n: v for n, v in state.items() if n != name}


def _added(name: str) -> Callable[[State], State]:
    def add(state: State) -> State:
        state.setdefault(name, len(state))
        return state

    return add


def _counted(name: str) -> Callable[[State], State]:
    return lambda state: {**state, "count": [name, len(state)]}


STEPS = st.builds(
    lambda make, name: make(name),
    st.sampled_from([_scaled, _renamed, _dropped, _added, _counted]),
    st.sampled_from(NAMES),
)
# A write is of a value nobody else writes, so that a replay finds each write to be one.
OPERATIONS = st.lists(st.sampled_from([*NAMES, *(f"-{name}" for name in NAMES), "wait", "wait"]), max_size=6)


def composed(chain: list[Callable[[State], State]], state: State) -> State:
    """What is expected of `Migrations.applied`."""
    for step in chain:
        if not state:
            break
        state = step(json.loads(json.dumps(state, sort_keys=True)))
    return state


def written(program: list[str], state: State) -> State:
    """`state` after the writes of `program`."""
    state, own = dict(state), set[str]()
    for place, operation in enumerate(program):
        name = operation.removeprefix("-")
        if operation == name and name != "wait":
            state[name] = f"w{place}"
            own.add(name)
        elif name in own:
            own.remove(name)
            del state[name]
    return state


class Run:
    """What the handlers of one example have seen."""

    def __init__(self, chain: list[Callable[[State], State]]) -> None:
        self.chain = chain
        self.seen: list[tuple[int, State]] = []  # (version, what a handler found first)

    def release(self, version: int) -> type[VirtualObject]:
        """The class in one of its versions. Its state has no declared names, so that any will do."""
        run = self

        async def put(self: Any, ctx: Context, state: State) -> None:
            for name, value in state.items():
                ctx.set(name, value)

        async def go(self: Any, ctx: Context, program: list[str], fails: bool) -> None:
            run.seen.append((version, {name: ctx.get(name) for name in ctx.state_keys()}))
            own = set[str]()
            for place, operation in enumerate(program):
                name = operation.removeprefix("-")
                if name == "wait":
                    await ctx.awakeable()
                elif operation == name:
                    ctx.set(name, f"w{place}")
                    own.add(name)
                elif name in own:
                    own.remove(name)
                    ctx.clear(name)
            if fails:
                raise TerminalError("as told")

        async def attempt(self: Any, ctx: Context, program: list[str], fails: bool) -> None:
            await go(self, ctx, program, fails)

        steps = {f"s{n}": migration(from_version=n)(step) for n, step in enumerate(self.chain[: version - 1], 1)}
        metaclass: Any = type(VirtualObject)
        body = {"put": handler(put), "go": handler(go), "attempt": handler(atomic=True)(attempt), **steps}
        made: type[VirtualObject] = metaclass(
            "Thing", (VirtualObject,), {"__module__": __name__, **body}, version=version
        )
        return made


def state_of(world: World) -> State:
    return {name: json.loads(value) for name, value in world.disk.query("SELECT name, value FROM state")}


@given(
    chain=st.lists(STEPS, min_size=1, max_size=4),
    state=st.dictionaries(st.sampled_from(NAMES), st.integers(-9, 9), max_size=3),
    program=OPERATIONS,
    atomic=st.booleans(),
    fails=st.booleans(),
    data=st.data(),
)
@settings(max_examples=int(os.environ["SIMULATIONS"]), deadline=None)
def test_upgrades_of_objects_with_open_invocations_compose(
    chain: list[Callable[[State], State]],
    state: State,
    program: list[str],
    atomic: bool,
    fails: bool,
    data: st.DataObject,
) -> None:
    asyncio.run(_upgrades(Run(chain), state, program, "attempt" if atomic else "go", fails, data))


async def _upgrades(run: Run, state: State, program: list[str], name: str, fails: bool, data: st.DataObject) -> None:
    last = len(run.chain) + 1
    began = data.draw(st.integers(1, last), label="version it began in")
    hops = [*sorted(data.draw(st.sets(st.integers(began, last), max_size=3), label="deployed")), last]
    async with World(run.release(1)) as world:
        await world.app.call("Thing", "k", "put", state)
        await _deploy(world, run, began)
        handle = await world.app.send("Thing", "k", name, program, fails)
        await world.settle()
        for version in hops:
            await _deploy(world, run, version)
            for _ in range(data.draw(st.integers(0, 2), label="completions")):
                world.store.crash_at_commit(data.draw(st.integers(1, 3)), written=data.draw(st.booleans()))
                with contextlib.suppress(StorageError, AppNotRunning):
                    await _complete_one(world)
                await world.settle()
                await _deploy(world, run, version)
        while await world.app.awakeables():
            await _complete_one(world)
            await world.settle()
        info = await world.app.describe(handle.id)
        assert info.status == ("failed" if fails else "succeeded"), info.reason
        for version, found in run.seen:
            assert found == composed(run.chain[: version - 1], state)
        upgraded = max(version for version, _ in run.seen)
        initial = composed(run.chain[: upgraded - 1], state)
        kept = written(program, initial) if name == "go" or not fails else initial
        # After the handler had ended, only what comes next migrates on.
        await world.app.call("Thing", "k", "put", {"end": 1})
        assert state_of(world) == {**composed(run.chain[upgraded - 1 :], kept), "end": 1}
        versions = world.disk.query("SELECT value FROM object_state WHERE name = ''")
        assert versions == ([(str(last),)] if last > 1 else [])


async def _complete_one(world: World) -> None:
    for info in (await world.app.awakeables())[:1]:
        await world.app.resolve_awakeable(info.id)


async def _deploy(world: World, run: Run, version: int) -> None:
    await world.crash()
    world.classes = (run.release(version),)
    await world.start()
    await world.settle()

"""An object whose handler runs random trees of branches, with every structure that asyncio has for them.

A leaf asks for something durable under a name of its own. What a tree returns is the order in which everything happened.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

from hypothesis import strategies as st

from actors import Context, RetryPolicy, TerminalError, VirtualObject, handler


class Outside:
    """What goes on around the simulated processes, and survives them."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.executions: Counter[str] = Counter()
        self.program: Any = None  # what is run in place of the stored one: changed code
        self.slow = True

    async def step(self, name: str, failures: int) -> str:
        """It takes some turns of the loop, other ones each time."""
        self.executions[name] += 1
        await self.pass_turns(12)
        if self.executions[name] <= failures:
            raise ConnectionError(name)
        return name

    async def pass_turns(self, most: int) -> None:
        for _ in range(self.random.randrange(most) if self.slow else 0):
            await asyncio.sleep(0)

    async def refuse(self, name: str) -> None:
        await self.pass_turns(12)
        raise TerminalError(name)


outside = Outside(0)


def renew(seed: int) -> Outside:
    global outside
    outside = Outside(seed)
    return outside


class Tree(VirtualObject):
    seen: list[str] = []

    @handler
    async def go(self, ctx: Context, tree: list[Any]) -> list[str]:
        tree = outside.program or tree
        run = Run(self, ctx)
        await run.node(tree)
        await ctx.awakeable(str)
        return run.happened


class Run:
    """One run of one tree. A node is [kind, ...]; its children are nodes."""

    def __init__(self, tree: Tree, ctx: Context) -> None:
        self.tree = tree
        self.ctx = ctx
        self.happened: list[str] = []

    async def node(self, node: list[Any]) -> None:
        await getattr(self, "_" + node[0])(*node[1:])
        self.happened.append(node[0])

    def branches(self, nodes: list[Any]) -> list[Any]:
        return [self.node(node) for node in nodes]

    def tasks(self, nodes: list[Any]) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(branch) for branch in self.branches(nodes)]

    def note(self, what: str) -> None:
        self.happened.append(what)

    # --- leaves -----------------------------------------------------------------------------------------------------------

    async def _step(self, name: str, failures: int) -> None:
        self.note(await self.ctx.step(name=name).run(outside.step, name, failures))

    async def _retried(self, name: str, failures: int) -> None:
        policy = RetryPolicy(initial_interval=0.002, max_interval=0.002, max_attempts=9)
        self.note(await self.ctx.step(name=name, retry=policy).run(outside.step, name, failures))

    async def _refused(self, name: str) -> None:
        try:
            await self.ctx.step(name=name).run(outside.refuse, name)
        except TerminalError as error:
            self.note(error.message)

    async def _sleep(self, name: str, ms: int) -> None:
        await self.ctx.sleep(ms / 1000)
        await self._step(name, 0)

    async def _call(self, name: str) -> None:
        self.note(await self.ctx.object(Echo, name).say(name))

    async def _state(self, name: str) -> None:
        self.tree.seen.append(name)
        await self._step(name, 0)

    async def _turns(self, turns: int, child: list[Any]) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await self.node(child)

    # --- structures -------------------------------------------------------------------------------------------------------

    async def _sequence(self, *nodes: Any) -> None:
        for node in nodes:
            await self.node(node)

    async def _gather(self, *nodes: Any) -> None:
        await asyncio.gather(*self.branches(list(nodes)))

    async def _nested(self, *nodes: Any) -> None:
        """Futures of asyncio that complete each other, with no task in between."""
        inner = asyncio.gather(*self.branches(list(nodes)))
        await asyncio.gather(asyncio.gather(inner))

    async def _durables(self, *names: str) -> None:
        """Futures of the context, awaited by tasks that asyncio makes for them."""
        for name in await asyncio.gather(*[self.ctx.step(name=name).run(outside.step, name, 0) for name in names]):
            self.note(name)

    async def _combined(self, *names: str) -> None:
        futures = [self.ctx.step(name=name).run(outside.step, name, 0) for name in names]
        self.note(str(await self.ctx.first(*futures)))
        async for done in self.ctx.as_completed(*futures):
            self.note(str(await done))

    async def _group(self, *nodes: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(self.node(node))

    async def _body_and_group(self, *nodes: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for node in nodes[1:]:
                group.create_task(self.node(node))
            await self.node(nodes[0])

    async def _failing_group(self, name: str, *nodes: Any) -> None:
        """A child that is refused for good ends its siblings, wherever they are."""

        async def refused() -> None:
            await self.ctx.step(name=name).run(outside.refuse, name)

        try:
            async with asyncio.TaskGroup() as group:
                for node in nodes:
                    group.create_task(self.node(node))
                group.create_task(refused())
        except* TerminalError as errors:
            self.note(str(errors.exceptions[0]))
        await self._step(name + " handled", 0)

    async def _semaphore(self, size: int, *nodes: Any) -> None:
        some = asyncio.Semaphore(size)

        async def within(node: Any) -> None:
            async with some:
                await self.node(node)

        await asyncio.gather(*[within(node) for node in nodes])

    async def _lock(self, *nodes: Any) -> None:
        lock = asyncio.Lock()

        async def within(node: Any) -> None:
            async with lock:
                await self.node(node)

        await asyncio.gather(*[within(node) for node in nodes])

    async def _queue(self, *nodes: Any) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue(1)

        async def work() -> None:
            while (node := await queue.get()) is not None:
                await self.node(node)

        workers = [asyncio.create_task(work()) for _ in range(2)]
        try:
            for node in [*nodes, None, None]:
                await queue.put(node)
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _event(self, *nodes: Any) -> None:
        event = asyncio.Event()

        async def after(node: Any) -> None:
            await event.wait()
            await self.node(node)

        async def first(node: Any) -> None:
            await self.node(node)
            event.set()

        await asyncio.gather(*[after(node) for node in nodes[1:]], first(nodes[0]))

    async def _condition(self, *nodes: Any) -> None:
        condition, done = asyncio.Condition(), list[str]()

        async def branch(node: Any) -> None:
            await self.node(node)
            async with condition:
                done.append(node[0])
                condition.notify_all()

        tasks = [asyncio.create_task(branch(node)) for node in nodes]
        async with condition:
            await condition.wait_for(lambda: len(done) == len(nodes))
        await asyncio.gather(*tasks)

    async def _wait(self, *nodes: Any) -> None:
        """Sets of tasks: in which order they are gone through must not depend on their addresses."""
        pending = set(self.tasks(list(nodes)))
        number = {task: str(place) for place, task in enumerate(pending)}
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
                self.note("done " + number[task])

    async def _shield(self, child: Any) -> None:
        await asyncio.shield(self.node(child))

    async def _as_completed(self, *nodes: Any) -> None:
        for one in asyncio.as_completed(self.branches(list(nodes))):
            await one
            self.note("next")

    async def _generator(self, *nodes: Any) -> None:
        async def each() -> AsyncIterator[str]:
            for node in nodes:
                await self.node(node)
                yield node[0]

        async for kind in each():
            self.note("generated " + kind)

    async def _beside(self, beside: Any, node: Any) -> None:
        task = asyncio.create_task(self.node(beside))
        await self.node(node)
        await task

    async def _cancelled(self, name: str, child: Any) -> None:
        """A branch that the handler itself cancels, at a moment that follows from a completion."""
        task = asyncio.create_task(self.node(child))
        await self._step(name, 0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            self.note("cancelled")


class Echo(VirtualObject):
    @handler
    async def say(self, ctx: Context, word: str) -> str:
        await ctx.run(outside.pass_turns, 8)
        return word


MANY = [
    "gather",
    "nested",
    "group",
    "body_and_group",
    "lock",
    "queue",
    "event",
    "condition",
    "wait",
    "as_completed",
    "generator",
    "sequence",
]


@st.composite
def trees(draw: Any, plain: bool = False) -> list[Any]:
    """With `plain` each name is asked for whatever happens, so that a change of steps always shows."""
    names = iter(range(1000))

    def name() -> str:
        return f"n{next(names)}"

    def leaf() -> list[Any]:
        kinds = (
            ["step", "step", "sleep", "call", "state"]
            if plain
            else ["step", "step", "retried", "refused", "sleep", "call", "state"]
        )
        kind = draw(st.sampled_from(kinds))
        if kind in ("step", "retried"):
            return [kind, name(), 0 if plain else draw(st.sampled_from([0, 0, 0, 1]))]
        if kind == "sleep":
            return [kind, name(), draw(st.integers(1, 6))]
        return [kind, name()]

    def node(depth: int) -> list[Any]:
        others = ["turns", "semaphore", "shield", "beside", "durables", "combined"]
        if not plain:
            others += ["failing_group", "cancelled"]
        kind = draw(st.sampled_from(["leaf", *MANY, *others])) if depth else "leaf"
        if kind == "leaf":
            return leaf()

        def children(least: int) -> list[Any]:
            return [node(depth - 1) for _ in range(draw(st.integers(least, 3)))]

        match kind:
            case "turns":
                return [kind, draw(st.integers(1, 9)), node(depth - 1)]
            case "semaphore":
                return [kind, draw(st.integers(1, 2)), *children(2)]
            case "shield":
                return [kind, node(depth - 1)]
            case "beside":
                return [kind, node(depth - 1), node(depth - 1)]
            case "durables" | "combined":
                return [kind, *[name() for _ in range(draw(st.integers(1, 3)))]]
            case "failing_group":
                return [kind, name(), *children(1)]
            case "cancelled":
                return [kind, name(), node(depth - 1)]
        return [kind, *children(2)]

    return node(draw(st.integers(1, 3)))


def changed(tree: list[Any], random: Random) -> Any:
    """The same tree with one step added, removed, renamed, or swapped with another one."""
    how = random.choice(["added", "removed", "renamed", "swapped"])
    leaves = [node for node in _nodes(tree) if node[0] in ("step", "sleep", "state", "call")]
    if how == "added" or not leaves:
        return (
            ["sequence", tree, ["step", "added", 0]]
            if random.random() < 0.5
            else ["sequence", ["step", "added", 0], tree]
        )
    chosen = random.choice(leaves)
    others = [node for node in leaves if node[1] != chosen[1]]
    if how == "swapped" and others:
        other = random.choice(others)
        return _replaced(tree, {chosen[1]: other, other[1]: chosen})
    if how == "removed":
        return _replaced(tree, {chosen[1]: ["sequence"]})
    return _replaced(tree, {chosen[1]: [chosen[0], "renamed", *chosen[2:]]})


def _nodes(tree: Any) -> list[Any]:
    if not isinstance(tree, list):
        return []
    return [tree, *[node for child in tree for node in _nodes(child)]]


def _replaced(tree: Any, by_name: dict[str, Any]) -> Any:
    if not isinstance(tree, list):
        return tree
    if tree[0] in ("step", "sleep", "state", "call") and tree[1] in by_name:
        return by_name[tree[1]]
    return [_replaced(child, by_name) for child in tree]


_ = (Awaitable, Callable)

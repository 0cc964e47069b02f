"""`StateMachine`: a state machine of Hypothesis whose rules may be async, and run on the loop of a world.

Promise: each example has a world of its own, which goes on between rules. At its end the world comes to rest and its witnesses are asked,
unless the example has failed already. A rule that waits for what will never happen fails at once.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from actors.testing.bridge import drawn
from actors.testing.faults import Faults
from actors.testing.machine import quiet
from actors.testing.story import SHOWN
from actors.testing.world import World

# After `bridge`, which says what to install if there is no Hypothesis.
from hypothesis import note, stateful  # isort: skip
from hypothesis.control import current_build_context  # isort: skip
from hypothesis.stateful import Bundle, RuleBasedStateMachine  # isort: skip
from hypothesis.strategies import SearchStrategy  # isort: skip

F = TypeVar("F", bound=Callable[..., Any])

TROUBLE = 0.4  # how often something may be unusual while a rule runs
BETWEEN_S = 0.01  # for how long the world goes on before a rule, at most

# Where the decorators of Hypothesis leave a rule or an invariant, with its `function`.
_MARKERS = ("hypothesis_stateful_rule", "hypothesis_stateful_initialize_rule", "hypothesis_stateful_invariant")


if TYPE_CHECKING:

    class _Machine:
        """A RuleBasedStateMachine whose `teardown` may be async, which the types of Hypothesis do not know."""

        TestCase: ClassVar[Any]

        def teardown(self) -> Any: ...

else:
    _Machine = RuleBasedStateMachine


class StateMachine(_Machine):
    """A `RuleBasedStateMachine` with a `world`. Its rules, invariants and initializers, and `teardown`, may be async.

    The decorators `rule`, `initialize` and `invariant` of this module are those of `hypothesis.stateful`, with types that allow async
    methods. Hypothesis chooses whether anything goes wrong while an async rule runs, how long the world goes on before it, and what goes
    wrong then, as often as `faults` says. Rules that are not async run outside of the loop, and may `self.world.run(...)`.

    Life of an example: the initializers, which serve classes; rules; `teardown`; then the world comes to rest and its witnesses are asked.
    """

    faults: ClassVar[Faults] = Faults()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for _, member in inspect.getmembers(cls):
            for marker in _MARKERS:
                marked = getattr(member, marker, None)
                if marked is not None and inspect.iscoroutinefunction(marked.function):
                    looks_on = marker == "hypothesis_stateful_invariant"
                    object.__setattr__(marked, "function", _on_the_loop(marked.function, looks_on))

    def __init__(self) -> None:
        super().__init__()
        self._around = sys.exception()  # a failure of the example is another one
        self._choices = drawn(current_build_context().data)
        self.world = World(self._choices, faults=self.faults, calms=True)
        # Hypothesis ends an example by calling this, and a subclass may override the method.
        self.teardown = functools.partial(self._end, self.teardown)  # type: ignore[method-assign]

    def _end(self, teardown: Callable[[], Any]) -> None:
        failed = sys.exception() is not self._around
        if failed:
            self._choices.end()
        try:
            self.world.machine.chances.usual = False
            ending = teardown()
            with quiet():
                if inspect.isawaitable(ending):
                    self.world.run(ending)
                if not failed:
                    self.world.finish()
        except BaseException:
            failed = True
            raise
        finally:
            if failed:
                note(f"The choices of the world: {self._choices}")
                note("\n".join(self.world.machine.story.lines(SHOWN)))
            self.world.close()


def rule(
    *, targets: Sequence[Bundle[Any]] = (), target: Bundle[Any] | None = None, **arguments: SearchStrategy[Any]
) -> Callable[[F], F]:
    """`hypothesis.stateful.rule`, for async methods too."""
    untyped: Any = stateful.rule
    return cast("Callable[[F], F]", untyped(targets=targets, target=target, **arguments))


def initialize(
    *, targets: Sequence[Bundle[Any]] = (), target: Bundle[Any] | None = None, **arguments: SearchStrategy[Any]
) -> Callable[[F], F]:
    """`hypothesis.stateful.initialize`, for async methods too."""
    untyped: Any = stateful.initialize
    return cast("Callable[[F], F]", untyped(targets=targets, target=target, **arguments))


def invariant(*, check_during_init: bool = False) -> Callable[[F], F]:
    """`hypothesis.stateful.invariant`, for async methods too."""
    untyped: Any = stateful.invariant
    return cast("Callable[[F], F]", untyped(check_during_init=check_during_init))


def _on_the_loop(function: Callable[..., Any], looks_on: bool) -> Callable[..., Any]:
    """An async rule as a plain function, which runs it on the loop of its world.

    One number says whether anything is unusual while a rule runs. So what a shrinker has to make simpler stays short.
    """

    @functools.wraps(function)
    def run(machine: StateMachine, /, **arguments: Any) -> Any:
        __tracebackhide__ = True

        async def on_the_loop() -> Any:
            __tracebackhide__ = True
            world = machine.world
            troubled = not looks_on and world.choices.choose(f"trouble in {function.__name__}", 2, TROUBLE)
            world.machine.chances.usual = not troubled
            if troubled:
                await world.pause(f"before {function.__name__}", up_to=BETWEEN_S)
            return await function(machine, **arguments)

        with quiet():
            return machine.world.run(on_the_loop())

    return run

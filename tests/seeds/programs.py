"""What a long run of seeds executes: our own classes, each of which must bear whatever happens to it.

Promise: a program is sound, so any failure of a run is a bug of the runtime, of the test kit or of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from actors.errors import TerminalError
from actors.model.virtual_object import Served
from actors.testing import World
from actors.testing.exploring import Arguments, Exploration, exploration
from actors.testing.simulation import Simulation
from actors.testing.step_faults import Step
from actors.testing.witnesses import WITNESSES
from examples import agent, approval, orders, rate_limiter, saga, web
from tests.seeds.program import Program
from tests.user_bugs import BUGS
from tests.worlds import explored, scenarios, shop


def _quiet(*_: Any) -> None: ...


def _paid(*_: Any) -> str:
    return "paid"


def _reserve(trip: str, part: str, sold_out: str | None) -> None:
    if part == sold_out:
        raise TerminalError(f"no {part} left", code=409)


def _explored(
    name: str,
    *classes: type[Served],
    fakes: Mapping[Step, Callable[..., Any]] | None = None,
    arguments: Arguments | None = None,
) -> Program:
    return Program(f"explore {name}", exploration(classes, arguments=arguments, fakes=fakes), Exploration())


async def _mails_are_sent(world: World) -> None:
    await scenarios.checkout(world, 100)  # as often as steps fail


def _programs() -> Iterator[Program]:
    yield _explored("Ledger", explored.Ledger)
    yield _explored("Post and Clock", explored.Post, explored.Clock)
    yield _explored("Trip", explored.Trip)
    yield _explored("Ledger and Trip", explored.Ledger, explored.Trip)
    yield _explored("the shop", shop.Counter, shop.Clock, shop.Signup)
    yield _explored("accounts", scenarios.Account)
    yield Program("mails are sent", _mails_are_sent, Simulation())
    yield _explored("orders.py", orders.Order, orders.Stock, orders.Mailer, fakes={orders.send_mail: _quiet})
    yield _explored("saga.py", saga.Trip, fakes={saga.reserve: _reserve, saga.cancel: _quiet})
    yield _explored("approval.py", approval.Expense, fakes={approval.send_mail: _quiet})
    yield _explored("rate_limiter.py", rate_limiter.Bucket, fakes={rate_limiter.let_through: _quiet})
    questions = [("Pay ACME",), ("Pay another firm",)]
    yield _explored("agent.py", agent.Task, fakes={agent.pay: _paid}, arguments={agent.Task.ask: questions})
    yield _explored("web.py", web.Concert, fakes={web.print_ticket: _quiet})
    # Not fleet.py: its objects rely on what they send each other, and random requests break that.
    for bug in BUGS:
        yield Program(f"simulate {bug.fixed.__name__}", bug.searching(bug.fixed, *WITNESSES), bug.simulation())
        yield Program(f"explore {bug.fixed.__name__}", bug.exploring(bug.fixed), Exploration())
        if "atomic" in bug.found_by:
            judged = bug.exploring(bug.fixed, atomic=True)
            yield Program(f"judge {bug.fixed.__name__}", judged, Exploration(atomic=True))


PROGRAMS: Sequence[Program] = tuple(_programs())

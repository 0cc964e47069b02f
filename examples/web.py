"""A web application that sells tickets: FastAPI in front, durable objects behind it.

Copy this file anywhere. It requires `pip install 'virtual-actors[serve]' fastapi`, and keeps its data in that folder:

    python web.py                  serves http://localhost:8000; /docs and /actors/docs are pages to try it

    curl localhost:8000/concerts/jazz
    curl localhost:8000/concerts/jazz/tickets --json '{"guest": "Ada"}'
    curl localhost:8000/concerts/jazz/tickets --json '{"guest": "Bob"}' -H 'idempotency-key: 1'   as often as you like
    curl localhost:8000/concerts/jazz/tickets --json '{"guest": "Eve"}'     409: the jazz concert has two seats
    curl localhost:8000/concerts/opera                                      404: there is no such concert
    curl localhost:8000/actors/Concert/jazz/look                            the same object, without a route for it

Kill it and start it again: the guests are in web.db. Tickets are printed into tickets.txt. With the command of uvicorn:
uvicorn web:api --timeout-graceful-shutdown 10, and one worker, because one process owns the file.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header

from actors import App, Context, TerminalError, VirtualObject, handler, shared
from actors.fastapi import mount

CONCERTS = {"jazz": 2, "rock": 500}


class SoldOut(TerminalError):
    error = "sold_out"
    code = 409  # the status of the answer


@dataclass
class Order:
    guest: str


@dataclass
class Sales:
    seats: int
    guests: list[str]


class Concert(VirtualObject):
    """Keyed by name. Requests for a concert are handled one after the other, so a seat is sold once, without a lock."""

    seats: int = 0
    guests: list[str] = []

    @handler(private=True)  # not for requests to /actors
    async def announce(self, seats: int) -> None:
        self.seats = seats

    @handler
    async def buy(self, ctx: Context, guest: str) -> int:
        """Buy a ticket. The answer is the number of the seat."""
        if self.seats == 0:
            raise TerminalError(f"There is no concert {ctx.key}.", code=404)
        if len(self.guests) >= self.seats:
            raise SoldOut(f"The concert {ctx.key} is sold out.")
        self.guests.append(guest)
        seat = len(self.guests)
        await ctx.run(print_ticket, ctx.key, seat, guest)
        return seat

    @shared
    async def look(self, ctx: Context) -> Sales:
        """How many seats there are, and who has bought one."""
        if self.seats == 0:
            raise TerminalError(f"There is no concert {ctx.key}.", code=404)
        return Sales(self.seats, self.guests)


def print_ticket(concert: str, seat: int, guest: str) -> None:
    """Stands in for a printer."""
    with open("tickets.txt", "a", encoding="utf-8") as tickets:
        tickets.write(f"{concert}, seat {seat}: {guest}\n")


app = App(Concert, storage="sqlite:///web.db")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Your own start and end. The app runs already, and still, so its objects can be called in both."""
    for concert, seats in CONCERTS.items():
        # Sent, not called: a start must not wait for a purchase that a kill has interrupted, and that goes on now.
        await app.object(Concert, concert).announce.send(seats)
    yield


api = FastAPI(title="Tickets", lifespan=lifespan)
mount(api, app, "/actors")  # starts and stops the app, and answers its errors with their codes


@api.get("/concerts/{concert}")
async def look(concert: str) -> Sales:
    return await app.object(Concert, concert).look()


@api.post("/concerts/{concert}/tickets", status_code=201)
async def buy(concert: str, order: Order, idempotency_key: Annotated[str | None, Header()] = None) -> int:
    # A client that got no answer repeats its request with the same key, and gets the ticket that it has bought.
    return await app.object(Concert, concert).buy.options(idempotency_key=idempotency_key)(order.guest)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000)
    # Without a limit uvicorn waits for every answer before it lets the app close, also for one that waits for a person.
    uvicorn.run(api, port=parser.parse_args().port, timeout_graceful_shutdown=10)

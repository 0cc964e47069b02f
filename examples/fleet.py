"""A fleet of devices: an object for each device, and an alarm for each device that falls silent.

Copy this file anywhere. It requires only `pip install virtual-actors`, and keeps its data in the current folder:

    python fleet.py report d-1 d-2 d-3    each of them reports once, and is known from now on
    python fleet.py watch d-1 d-3         these two report twice a second. d-2 does not: after three seconds, an alarm.
                                          Ctrl-C ends it; killed and started again, it raises no alarm twice
    python fleet.py alarms                the devices that are silent
    python fleet.py report d-2            d-2 is back: its alarm is over

A schedule is for the keys that it names, and devices come and go. So one object, the registry, has the schedule, and
sends a message to each device.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta

from actors import ActorsError, App, Context, VirtualObject, handler, run, schedule

FLEET = "fleet"  # the key of the registry and of the alarm
PATIENCE = timedelta(seconds=3)
GAP = timedelta(seconds=2)  # between two patrols, which are a second apart: more than this, and the app was not running


class Device(VirtualObject):
    """Keyed by device. A report and a check never run at the same time, so a device is either silent or not."""

    seen_at: datetime | None = None
    silent: bool = False

    @handler
    async def report(self, ctx: Context) -> None:
        if self.seen_at is None:
            ctx.object(Registry, FLEET).add.send(ctx.key)
        if self.silent:
            self.silent = False
            ctx.object(Alarm, FLEET).stop.send(ctx.key)
        self.seen_at = ctx.now()

    @handler
    async def check(self, ctx: Context, deadline: datetime) -> None:
        if self.seen_at is not None and self.seen_at < deadline and not self.silent:
            self.silent = True
            ctx.object(Alarm, FLEET).ring.send(ctx.key, self.seen_at)


class Registry(VirtualObject):
    """Knows all devices."""

    devices: list[str] = []
    patrolled_at: datetime | None = None
    listening_since: datetime  # set by the first patrol

    @handler
    async def add(self, device: str) -> None:
        self.devices.append(device)

    @schedule("* * * * * *", key=FLEET)  # every second, for the example; "* * * * *" is every minute
    @handler
    async def patrol(self, ctx: Context) -> None:
        now = ctx.now()
        if self.patrolled_at is None or now - self.patrolled_at > GAP:
            self.listening_since = now  # while no app was running, no device could report
        self.patrolled_at = now
        if now - self.listening_since >= PATIENCE:
            for device in self.devices:
                ctx.object(Device, device).check.send(now - PATIENCE)


class Alarm(VirtualObject):
    """Notifies people, once each time a device falls silent, and once when it is back."""

    silent: dict[str, datetime] = {}

    @handler
    async def ring(self, ctx: Context, device: str, seen_at: datetime) -> None:
        self.silent[device] = seen_at
        await ctx.run(say, f"[alarm] {device} is silent since {seen_at:%H:%M:%S} UTC")

    @handler
    async def stop(self, ctx: Context, device: str) -> None:
        del self.silent[device]
        await ctx.run(say, f"[alarm] {device} is back")

    @handler
    async def look(self) -> list[str]:
        """The silent devices. Not @shared, so it is queued behind what was sent to the alarm before."""
        return sorted(self.silent)


def say(text: str) -> None:
    """Stands in for a pager. Steps run in threads, so a line is printed in one write."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def report(app: App, devices: list[str]) -> None:
    await asyncio.gather(*[app.object(Device, device).report() for device in devices])


async def main(arguments: list[str]) -> None:
    async with App(Device, Registry, Alarm, storage="sqlite:///fleet.db") as app:
        match arguments:
            case ["report", *devices]:
                await report(app, devices)
            case ["watch", *devices]:
                while True:
                    await report(app, devices)
                    await asyncio.sleep(0.5)
            case ["alarms"]:
                pass
            case _:
                sys.exit(__doc__)
        say(f"silent: {', '.join(await app.object(Alarm, FLEET).look()) or 'no device'}")


if __name__ == "__main__":
    try:
        run(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("Stopped.")
    except ActorsError as error:
        sys.exit(str(error))

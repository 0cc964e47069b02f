"""Does a call cost the same after a million keys as after a thousand?"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from actors import App
from benchmarks.measure import Progress, Side, alternate, run
from benchmarks.objects import Counter
from benchmarks.options import Options, Result
from benchmarks.throughput import cost_in, counter, counter_on_floor, floor_side, opened_app, result

FILLS = 20
AT_ONCE = 1000


class KeysEver:
    """The same calls on equally many hot keys in three apps: the first has called each of `ever` keys once, the second has
    made as many calls on the hot keys only, the third is new.

    In the first app the hot keys lie scattered over the file, and its memory, its caches and its collector have seen all keys.
    The first two apps keep equally many ended invocations, so that they differ only in the keys; beyond `Limits.max_retained`, a
    million, both forget an older invocation with each call. The new app shows the cost of that.
    """

    name = "keys-ever"
    summary = "Counter calls on 1,000 hot keys, after as many calls on a million keys and on those alone"
    asks = ("callers", "keys", "ops", "rounds", "ever")
    quick = (Options(rounds=3, ops=4000, ever=20_000),)

    def steps(self, options: Options) -> int:
        return 2 * FILLS + 4 * (options.rounds + 1)

    def run(self, options: Options, progress: Progress) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            return run(lambda: self._run(Path(folder), options, progress))

    async def _run(self, folder: Path, options: Options, progress: Progress) -> Result:
        ever = max(options.ever, options.keys)
        # Multiplying by an odd number spreads the keys over the tables, as random ids would.
        names = [f"{number * 2_654_435_761 % 2**32:08x}" for number in range(ever)]
        hot = names[:: ever // options.keys][: options.keys]
        random = Random(1)
        ops = options.ops_for(1.0)
        async with AsyncExitStack() as stack:
            many = await opened_app(folder / "many.db", stack)
            await use(many.app, names, "many keys", progress)
            few = await opened_app(folder / "few.db", stack)
            await use(few.app, [hot[number % len(hot)] for number in range(ever)], "few keys", progress)
            new = await opened_app(folder / "new.db", stack)
            sides = [
                Side("many keys", many.store, counter(many.app)),
                Side("few keys", few.store, counter(few.app)),
                Side("new app", new.store, counter(new.app)),
                await floor_side(folder / "floor.db", stack, counter_on_floor),
            ]
            for opened in (many, few):
                opened.store.account()
            draw = lambda: random.choices(hot, k=ops)  # noqa: E731
            await alternate(sides, hot, draw, options.callers, options.rounds, progress)
        own, few_keys, new_app, floor = (side.medians() for side in sides)
        found = result(self.name, options, own, floor) | {"ops": ops, "keys_ever": ever}
        return found | cost_in(own, "few_keys", few_keys) | cost_in(own, "new_app", new_app)


async def use(app: App, names: list[str], who: str, progress: Progress) -> None:
    """Call each name once. Equal names are far apart."""
    share = -(-len(names) // FILLS)
    for part in range(FILLS):
        mine = names[part * share : (part + 1) * share]
        for start in range(0, len(mine), AT_ONCE):
            await asyncio.gather(*(app.object(Counter, key).add(1) for key in mine[start : start + AT_ONCE]))
        progress(f"{who}: {min((part + 1) * share, len(names)):,} calls")

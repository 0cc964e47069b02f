"""How much memory does an idle object that is hot take?"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile

from actors import App, Limits
from benchmarks import machine
from benchmarks.measure import Progress, in_new_process, run
from benchmarks.objects import Counter
from benchmarks.options import Options, Result
from benchmarks.throughput import rounded

WARM_UP = 2000
AT_ONCE = 1000


class Memory:
    """Each Counter is called once in a separate process; the growth of its resident memory is divided by their number.

    The growth includes SQLite's cache of their pages, at most 4 MiB, and memory kept by the allocator.
    """

    name = "memory"
    summary = "Resident memory for each hot idle object"
    asks = ("count",)
    quick = (Options(count=20_000),)

    def steps(self, options: Options) -> int:
        return 1

    def run(self, options: Options, progress: Progress) -> Result:
        found = in_new_process(touch_in_new_file, options.count)
        progress(f"{options.count:,} objects touched")
        return {"scenario": self.name, "objects": options.count} | found | machine.facts()


def touch_in_new_file(count: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        return run(lambda: touch(os.path.join(folder, "memory.db"), count))


async def touch(path: str, count: int) -> Result:
    async with App(Counter, storage=f"sqlite:///{path}", limits=Limits(max_objects=WARM_UP + count)) as app:
        await _call(app, [f"warm-{number}" for number in range(WARM_UP)])
        gc.collect()
        before = machine.rss_bytes()
        await _call(app, [f"key-{number}" for number in range(count)])
        gc.collect()
        after = machine.rss_bytes()
    return {
        "rss_bytes_per_object": rounded((after - before) / count),
        "rss_mb_before": rounded(before / 1e6),
        "rss_mb_after": rounded(after / 1e6),
        "file_bytes_per_object": rounded(os.path.getsize(path) / (WARM_UP + count)),
    }


async def _call(app: App, keys: list[str]) -> None:
    for start in range(0, len(keys), AT_ONCE):
        await asyncio.gather(*(app.object(Counter, key).add(1) for key in keys[start : start + AT_ONCE]))

"""`python -m benchmarks.peers NAME`: measure one system. `python -m benchmarks.peers list`: their names."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers import harness

# name -> module, function that makes the peer, what the interpreter must have installed
PEERS = {
    "actors": ("ours", "in_process", "virtual-actors"),
    "actors-http": ("ours", "served", "virtual-actors[serve]"),
    "actors-on-restate": ("restate_server", "our_classes", "virtual-actors[restate,cli] httpx, and npm"),
    "restate": ("restate_server", "its_own_sdk", "virtual-actors[restate,cli] httpx, and npm"),
    "dbos-sqlite": ("dbos_workflows", "on_sqlite", "dbos"),
    "dbos-postgres": ("dbos_workflows", "on_postgres", "dbos, and PostgreSQL"),
    "pykka": ("pykka_actors", "peer", "pykka"),
    "xoscar": ("xoscar_actors", "peer", "xoscar"),
}
GRID = [(callers, keys) for keys in (1, 1000) for callers in (1, 64)]
PATIENCE_S = 120  # of a run, beyond its duration: for the start, the warm-up, and calls under way at its end
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("name", choices=["list", *PEERS])
    parser.add_argument("--callers", type=int, help="callers; each waits for its answer before its next call")
    parser.add_argument(
        "--keys", type=int, help="counters; without --callers and --keys: 1 and 64 callers, 1 and 1,000 keys"
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="duration of each run, after a warm-up (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON for each run")
    options = parser.parse_args()
    if options.name == "list":
        for name, (_, _, needs) in PEERS.items():
            print(f"{name:<18} pip install {needs}")
        return
    if options.callers is not None and options.keys is not None:
        show(one(options.name, options.callers, options.keys, options.seconds), options.json)
        return
    for callers, keys in GRID:
        if options.callers in (None, callers) and options.keys in (None, keys):
            cell = in_new_process(options.name, callers, keys, options.seconds)
            if cell is None:
                show_missing(options.name, callers, keys, options.json)
            else:
                show(cell, options.json)


def one(name: str, callers: int, keys: int, seconds: float) -> dict[str, Any]:
    module, function, needs = PEERS[name]
    try:
        peer: harness.Peer = getattr(importlib.import_module(f"benchmarks.peers.{module}"), function)()
    except ModuleNotFoundError as error:
        sys.exit(f"{name} requires {error.name}. Install it with: pip install {needs}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return asyncio.run(harness.measure(peer, Path(folder), callers, keys, seconds))


def in_new_process(name: str, callers: int, keys: int, seconds: float) -> dict[str, Any] | None:
    """Each run has a process and a folder of its own: nothing of an earlier run counts. None if it does not end in time."""
    words = [name, "--callers", str(callers), "--keys", str(keys), "--seconds", str(seconds), "--json"]
    command = [sys.executable, "-m", "benchmarks.peers", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            printed, _ = process.communicate(timeout=seconds + PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the run, and the servers that it has started
            return None
    if process.returncode:
        sys.exit(f"{name} with {callers} callers and {keys} keys ended with {process.returncode}.")
    found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return found


def show_missing(name: str, callers: int, keys: int, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps({"peer": name, "callers": callers, "keys": keys, "no_result_within_s": PATIENCE_S}), flush=True
        )
        return
    print(f"{name:<18} callers {callers:>2}  keys {keys:>4}  no result within {PATIENCE_S} s", flush=True)


def show(cell: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(cell), flush=True)
        return
    print(
        f"{cell['peer']:<18} callers {cell['callers']:>2}  keys {cell['keys']:>4}  "
        f"{cell['calls_per_s']:>9,.0f} calls/s  p50 {cell['p50_ms']:>7.2f} ms  p99 {cell['p99_ms']:>7.2f} ms  "
        f"CPU {cell['cpu_s_per_1000']:.3f} s per 1,000 calls  ({cell['version']}; {cell['durable']})",
        flush=True,
    )


if __name__ == "__main__":
    main()

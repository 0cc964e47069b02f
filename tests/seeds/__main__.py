"""Runs many seeds of our own programs, over all cores, and goes on where it was after a kill.

    python -m tests.seeds                              a million seeds, spread over all programs
    python -m tests.seeds --seeds 20000 Ledger Trip    of the programs whose names hold one of these words
    python -m tests.seeds "explore Ledger" --choices "commit 3: killed before"    one run of one program

A failure is shown with its program, its seed, the shortest run that fails the same way, and how to run that again; the other programs
go on. Exit code 1 if a program has failed. The progress is in build/seeds.json, for the code that has run: with other code all begins anew,
unless --keep.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.errors import BadArguments
from actors.testing.choices import Choices, parsed
from tests.seeds.progress import BadProgress, Failure, Progress
from tests.seeds.worker import programs_in

ROOT = Path(__file__).resolve().parent.parent.parent
SEEDS = 1_000_000
BATCH = 25  # seeds that a worker runs at a time
BATCHES = 100  # of a worker: then another process takes its place, so that its memory stays bounded
SAID_EVERY_S = 10.0
CODE = ("actors", "storage", "transport", "examples", "tests/seeds", "tests/user_bugs", "tests/worlds")


class LongRun:
    """The batches that are left, and the workers that run them."""

    def __init__(self, module: str, names: list[str], seeds: int, progress: Progress, file: Path) -> None:
        self._module = module
        self._names = names
        self._seeds = seeds
        self._progress = progress
        self._file = file
        self._lock = threading.Lock()
        self._batches = self._left()
        self._began = time.monotonic()
        self._said = self._began
        self._runs = 0
        self._running: set[subprocess.Popen[str]] = set()
        self._over = False

    def run(self, processes: int) -> None:
        """Run all of them."""
        threads = [threading.Thread(target=self._work) for _ in range(processes)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self._over = True
            for process in list(self._running):
                process.terminate()
            raise
        finally:
            with self._lock:
                self._progress.write(self._file)

    def _left(self) -> Iterator[tuple[str, int, int, int]]:
        """The batches, each with its number: the first ones of all programs, then the second ones."""
        share, more = divmod(self._seeds, len(self._names))
        seeds = {name: share + (place < more) for place, name in enumerate(self._names)}
        for number in range(-(-max(seeds.values()) // BATCH)):
            for name in self._names:
                first, last = number * BATCH, min((number + 1) * BATCH, seeds[name])
                if first < last and not self._progress.is_done(name, number):
                    yield name, number, first, last

    def _work(self) -> None:
        while not self._over and self._live():
            pass

    def _live(self) -> bool:
        """One life of a worker. Returns whether there may be more to do."""
        command = [sys.executable, "-m", "tests.seeds.worker", self._module]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as worker:
            assert worker.stdin is not None and worker.stdout is not None
            self._running.add(worker)
            try:
                for _ in range(BATCHES):
                    with self._lock:
                        batch = next(self._batches, None)
                    if batch is None:
                        return False
                    name, number, first, last = batch
                    line = ""
                    try:
                        worker.stdin.write(json.dumps({"program": name, "first": first, "last": last}) + "\n")
                        worker.stdin.flush()
                        line = worker.stdout.readline()
                    except BrokenPipeError:
                        pass
                    if self._over:
                        return False
                    self._ended(name, number, last - first, json.loads(line) if line else _died(first, last))
                    if not line:
                        return True
                return True
            finally:
                self._running.discard(worker)
                worker.stdin.close()

    def _ended(self, name: str, number: int, runs: int, result: dict[str, Any]) -> None:
        with self._lock:
            self._runs += runs
            now = time.monotonic()
            if result and not any(failure.program == name for failure in self._progress.failures):
                failure = Failure(name, **result)
                self._progress.failures.append(failure)
                print("\n".join(told(failure)), flush=True)
            elif not result and runs == BATCH:  # a part of a batch is run again if there are to be more seeds
                self._progress.add(name, number)
            self._progress.write(self._file)
            if now - self._said >= SAID_EVERY_S:
                rate = self._runs / (now - self._began)
                print(
                    f"{self._runs:,} runs now, {rate:.0f} a second, {len(self._progress.failures)} failed", flush=True
                )
                self._said = now


def _died(first: int, last: int) -> dict[str, Any]:
    return {"seed": first, "error": f"the worker has died, or hung, in one of the seeds {first} to {last - 1}"}


def told(failure: Failure) -> list[str]:
    """A failure, and how to run it again."""
    again = f"--choices {failure.text!r}" if failure.text else f"--seed {failure.seed}"
    return [
        f"! {failure.program}, seed {failure.seed}: {failure.error}",
        *(f"    {line}" for line in failure.story),
        f"  Again: python -m tests.seeds {failure.program!r} {again}",
    ]


def code() -> str:
    """A hash of all code that a run executes."""
    digest = hashlib.sha256()
    for folder in CODE:
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid number. Use a whole number from 1 on.")
    return number


def arguments(given: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="python -m tests.seeds", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("words", nargs="*", help="run the programs whose names hold one of these words")
    parser.add_argument("--seeds", type=count, default=SEEDS, help="how many, in all")
    parser.add_argument("--processes", type=count, default=os.cpu_count() or 1)
    parser.add_argument("--keep", action="store_true", help="keep the progress of other code")
    parser.add_argument("--progress", type=Path, default=ROOT / "build" / "seeds.json", help="the file of the progress")
    parser.add_argument("--programs", default="tests.seeds.programs", help="the module that names the programs")
    parser.add_argument("--choices", help="run one program once, with these choices")
    parser.add_argument("--seed", type=int, help="run one program once, from this seed")
    return parser, parser.parse_args(given)


def main(given: list[str]) -> int:
    parser, options = arguments(given)
    programs = {program.name: program for program in programs_in(options.programs)}
    exact = [word for word in options.words if word in programs]
    names = exact or [name for name in programs if not options.words or any(word in name for word in options.words)]
    if not names:
        parser.error(f"no program has a name with one of these words: {', '.join(options.words)}")
    if options.choices is not None or options.seed is not None:
        if len(names) > 1:
            parser.error(f"--choices and --seed require one program, and these are {len(names)}")
        program = programs[names[0]]
        try:
            parsed(options.choices or "usual")
        except BadArguments as error:
            parser.error(str(error))
        choices = Choices.of(options.choices) if options.choices is not None else Choices(seed=options.seed)
        run = program.of(options.seed or 0).once(program.body, choices)
        print("\n".join(run.story.lines()))
        print(repr(run.error) if run.error is not None else "It has not failed.")
        return int(run.error is not None)
    try:
        progress = Progress.read(options.progress)
    except BadProgress as error:
        parser.error(str(error))
    now = code()
    if progress is not None and ((progress.code != now and not options.keep) or progress.batch != BATCH):
        print("The code has changed since the last run: all begins anew. --keep goes on where that run was.")
        progress = None
    if progress is None:
        progress = Progress(now, BATCH)
    elif progress.done or progress.failures:
        print(
            f"Goes on where the last run was: {sum(one[0] for one in progress.done.values()) * BATCH:,} runs are done."
        )
    options.progress.parent.mkdir(parents=True, exist_ok=True)
    LongRun(options.programs, names, options.seeds, progress, options.progress).run(options.processes)
    failed = [failure for failure in progress.failures if failure.program in names]
    print(f"{options.seeds:,} seeds of {len(names)} programs: {len(failed) or 'none'} failed")
    for failure in failed:
        print(told(failure)[0], told(failure)[-1], sep="\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

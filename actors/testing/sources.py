"""The functions whose result or effect a replay does not repeat, and what a handler uses in place of each.

Functions written in C are known by identity, functions written in Python by their code, and all use of the disk, the network and
other processes by the audit events of the interpreter.
"""

from __future__ import annotations

import _thread
import asyncio
import builtins
import datetime
import os
import random
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from opcode import opmap
from types import CodeType, FrameType
from typing import Any, Final

from actors.testing.step_sources import REPLACED_CODE

_ANY: Final = 256  # more arguments than an instruction can pass


@dataclass(frozen=True, slots=True)
class Source:
    """A function whose result or effect a replay does not repeat."""

    name: str
    advice: str
    clock: bool = False  # libraries call it to keep their timeouts
    direct: bool = False  # reported only where the user's own code calls it
    unless: int = _ANY  # with so many arguments it computes from these alone


NOW, STEP = "ctx.now()", "ctx.run(...)"
_CHANCE, _ID = "ctx.random", "ctx.uuid()"

OfFrame = Callable[[FrameType], Source | None]  # of the frame of a function written in Python

_CLOCKS: Final = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
CALLS: dict[Any, Source] = {
    **{
        getattr(time, name + unit): Source(f"time.{name}{unit}", NOW, clock=True)
        for name in _CLOCKS
        for unit in ("", "_ns")
        if hasattr(time, name + unit)  # thread_time is not everywhere
    },
    **{
        getattr(time, name): Source(f"time.{name}", NOW, clock=True, unless=1)
        for name in ("localtime", "gmtime", "ctime", "asctime")
    },
    time.strftime: Source("time.strftime", NOW, clock=True, unless=2),
    time.sleep: Source("time.sleep", "ctx.sleep(...)"),
    datetime.date.today: Source("datetime.date.today", NOW),
    **{
        getattr(datetime.datetime, name): Source(f"datetime.datetime.{name}", NOW)
        for name in ("now", "utcnow", "today")
    },
    os.urandom: Source("os.urandom", _CHANCE),
    os.getpid: Source("os.getpid", STEP, direct=True),
    builtins.input: Source("input", STEP),
    random.random: Source("random.random", _CHANCE),
    random.getrandbits: Source("random.getrandbits", _CHANCE),
    random.seed: Source("random.seed", _CHANCE),
    random.setstate: Source("random.setstate", _CHANCE),
    # Only Python 3.12 and later raise an audit event for them.
    **{
        getattr(_thread, name): Source("threading.Thread.start", STEP)
        for name in ("start_new_thread", "start_joinable_thread")
        if hasattr(_thread, name)
    },
}
_CLOCK_METHODS: Final = frozenset({"now", "utcnow", "today"})


def _plain(function: Any, advice: str, *, direct: bool = False, name: str | None = None) -> tuple[CodeType, OfFrame]:
    source = Source(name or f"{function.__module__}.{function.__name__}", advice, direct=direct)
    return function.__code__, lambda frame: source


def _of_random(frame: FrameType) -> Source | None:
    """A method of random.Random: of the generator behind `random.choice` and the like, or of the system's generator."""
    owner, name = frame.f_locals.get("self"), frame.f_code.co_name
    if owner is _SHARED_GENERATOR:
        return Source(f"random.{name}", _CHANCE)
    if owner is _SECRETS_GENERATOR:
        return Source(f"secrets.{'randbits' if name == 'getrandbits' else name}", _CHANCE)
    if isinstance(owner, random.SystemRandom):
        return None if name == "__init__" else Source(f"random.SystemRandom.{name}", _CHANCE)
    if name == "__init__" and frame.f_locals.get("x") is None:
        return Source("random.Random", _CHANCE, direct=True)
    return None


def _of_replaced(frame: FrameType) -> Source | None:
    """A function that a world has replaced for steps, and that a handler calls."""
    return CALLS.get(frame.f_locals.get("original"))


def _of_environ(frame: FrameType) -> Source | None:
    return _ENVIRON if frame.f_locals.get("self") is os.environ else None


_SHARED_GENERATOR: Any = vars(random)["_inst"]
_SECRETS_GENERATOR: Any = vars(secrets)["_sysrand"]
_ENVIRON: Final = Source("os.environ.get", STEP, direct=True)

CODES: dict[CodeType, OfFrame] = dict(
    [
        *(_plain(function, _ID) for function in (uuid.uuid1, uuid.uuid4)),
        *(
            _plain(getattr(secrets, name), _CHANCE)
            for name in ("token_bytes", "token_hex", "token_urlsafe", "randbelow")
        ),
        *(
            (function.__code__, _of_random)
            for cls in (random.Random, random.SystemRandom)
            for name, function in vars(cls).items()
            if hasattr(function, "__code__") and name not in ("__getstate__", "__setstate__", "__reduce__", "getstate")
        ),
        (REPLACED_CODE, _of_replaced),
        _plain(os.getenv, STEP, direct=True),
        _plain(type(os.environ).__getitem__, STEP, direct=True, name="os.environ.__getitem__"),
        (type(os.environ).get.__code__, _of_environ),
        _plain(asyncio.BaseEventLoop.time, NOW, direct=True, name="loop.time"),
    ]
)
BY_ID: dict[int, OfFrame] = {id(code): watched for code, watched in CODES.items()}  # a code is hashed as a whole

# Events of the interpreter, which are raised for C extensions, too.
EVENTS: dict[str, Source] = {
    event: Source(event, STEP)
    for event in (
        "open",
        *(f"os.{name}" for name in ("listdir", "scandir", "mkdir", "rmdir", "remove", "rename", "link", "symlink")),
        *(f"os.{name}" for name in ("chmod", "truncate", "utime", "chdir", "putenv", "unsetenv")),
        *(f"os.{name}" for name in ("system", "exec", "fork", "posix_spawn")),
        *(f"shutil.{name}" for name in ("copyfile", "copymode", "copystat", "copytree", "move", "rmtree", "chown")),
        *(f"shutil.{name}" for name in ("make_archive", "unpack_archive")),
        *(f"socket.{name}" for name in ("connect", "bind", "sendto", "getaddrinfo", "gethostbyname", "gethostbyaddr")),
        "subprocess.Popen",
        "sqlite3.connect",
        "urllib.Request",
    )
}

# Modules of the standard library. What these do has no effect that a handler could see:
WITHOUT_EFFECT: Final = frozenset({"linecache", "logging", "traceback", "warnings"})
# These raise an event of their own before they use the disk or the network, which says more:
WITH_EVENTS: Final = frozenset({"shutil", "subprocess", "urllib"})


def asks(code: CodeType, at: int, source: Source) -> bool:
    """Whether the call passes so few arguments that the function asks the system.

    The calling instruction knows their number. That of `f(*arguments)` does not: then nothing is reported, not a false alarm.
    """
    if source.unless == _ANY:
        return True
    instructions = code.co_code
    return instructions[at] in _CALL and instructions[at + 1] < source.unless


_CALL: Final = {opmap[name] for name in ("CALL", "PRECALL") if name in opmap}


def called(function: Any) -> Source | None:
    """The source that this function written in C is, if it is one."""
    source = CALLS.get(function)
    if source is None and type(owner := function.__self__) is type and issubclass(owner, datetime.date):
        name = function.__name__  # of a class of its own below datetime
        return Source(f"{owner.__module__}.{owner.__qualname__}.{name}", NOW) if name in _CLOCK_METHODS else None
    return source

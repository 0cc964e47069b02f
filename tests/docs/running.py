"""One document, executed from its first block to its last, in a folder of its own, as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from tests.docs import fragments
from tests.docs.console import Command, Shell, Wrong, commands, pattern
from tests.docs.documents import ROOT, BadDocument, Block, Document, read

_PORTS = re.compile(r"((?:localhost|127\.0\.0\.1|0\.0\.0\.0):|--port[ =])(\d{4,5})\b")
# Commands that listen, and the port each takes without --port.
_SERVERS = (
    (re.compile(r"\bactors restate serve\b"), 9080),
    (re.compile(r"\bactors serve\b"), 8080),
    (re.compile(r"\buvicorn\b"), 8000),
)
_PROGRAM_S = 60
_INSTALL = re.compile(r"^(?:python -m )?pip install (.*)$")


def run(document: Document, folder: Path, patience_s: float = 40.0) -> None:
    """Raises Wrong with the line of the first block that does not do what the document says.

    A command may take `patience_s` until it has ended and has printed what the document shows.
    """
    folder.mkdir(exist_ok=True)
    for name, file in document.uses:
        _write(folder, _file_of(document, name, file))
    ports = Ports()
    environment = _environment(folder)
    with Shell(folder, environment, patience_s) as shell:
        printed: str | None = None
        for number, block in enumerate(document.blocks):
            if "theirs" in block.marks:
                continue
            if part_of := block.marks.get("part-of"):
                _compare(block, ROOT / part_of)
            elif block.language == "output":
                _check_output(block, printed)
            elif "no-run" in block.marks:
                continue
            elif block.language == "console":
                for command in commands(block.text, block.line):
                    _type(shell, command, ports, patience_s)
            elif block.fragment is not None:
                _run_python(folder, f"fragment_{block.line}", fragments.program(document, block), block, environment)
            elif block.file is not None:
                _write(folder, _moved(block, ports))
                if block.language == "python" and not _is_mentioned(document, number, block.file):
                    _run_python(folder, Path(block.file).stem, None, block, environment)
            elif block.language == "python":
                text = ports.moved(block.text)
                printed = _run_python(folder, f"block_{block.line}", text, block, environment)


class Ports:
    """A free port for each port that a document names, so that documents can be executed side by side."""

    def __init__(self) -> None:
        self._free: dict[str, int] = {}

    def of(self, port: str) -> int:
        if port not in self._free:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._free[port] = probe.getsockname()[1]
        return self._free[port]

    def moved(self, text: str) -> str:
        return _PORTS.sub(lambda match: f"{match[1]}{self.of(match[2])}", text)


def _type(shell: Shell, command: Command, ports: Ports, patience_s: float) -> None:
    if (match := _INSTALL.match(command.text)) is not None:
        _check_extras(match[1], command.line)
        return
    text, port = command.text, None
    for server, usual in _SERVERS:
        if server.search(text) and "--uds" not in text and "--help" not in text:
            if "--port" not in text:
                text = _with_option(text, f"--port {usual}")
            port = re.search(r"--port[ =](\d+)", text)
            break
    text = ports.moved(text)
    if port is not None and text.rstrip().endswith("&") and not command.shown and ">" not in text:
        raise BadDocument(
            f"line {command.line}: show the line that the server prints, so that readers know when it is ready."
        )
    shell.run(Command(command.line, text, tuple(ports.moved(line) for line in command.shown)))
    if port is not None and command.text.rstrip().endswith("&"):
        _wait_for_port(ports.of(port[1]), command, patience_s)


def _with_option(text: str, option: str) -> str:
    """The command with an option more, before its `&`, its `>` or its comment."""
    match = re.search(r"\s*(?:\s#|&|\||>|2>|;).*$", text)
    end = match.start() if match else len(text)
    return f"{text[:end]} {option}{text[end:]}"


def _wait_for_port(port: int, command: Command, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Wrong(f"line {command.line}: $ {command.text}\nThe server does not listen.")


def _check_extras(requirements: str, line: int) -> None:
    """`pip install` is not run: the package comes from this checkout. Its extras have to exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in shlex.split(requirements, comments=True):
        match = re.fullmatch(r"virtual-actors\[([\w,-]+)\]", word)
        for extra in match[1].split(",") if match else ():
            if extra not in project["optional-dependencies"]:
                raise Wrong(f"line {line}: pyproject.toml has no extra {extra!r}.")


def _environment(folder: Path) -> dict[str, str]:
    found = {
        name: value
        for name, value in os.environ.items()
        if name in ("LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV") or name.startswith("COVERAGE")
    }
    binaries = Path(sys.executable).parent
    return found | {
        "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '/usr/bin:/bin')}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_ADDOPTS": "-p no:schemathesis",  # a reader does not have it, and to load it takes longer than most tests
        "HOME": str(folder),
        "COLUMNS": "120",
    }


def _run_python(folder: Path, name: str, text: str | None, block: Block, environment: dict[str, str]) -> str:
    """What a program prints. `text` is written to a file first, None stands for a file that is there."""
    if text is not None:
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, f"{name}.py"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROGRAM_S,
        )
    except subprocess.TimeoutExpired as error:
        raise Wrong(f"line {block.line}: the program has not ended within {_PROGRAM_S} s: {error.output!r}") from None
    if done.returncode:
        raise Wrong(
            f"line {block.line}: the program ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def _check_output(block: Block, printed: str | None) -> None:
    if printed is None:
        raise BadDocument(f"line {block.line}: no program stands before this output.")
    if not pattern(block.text.splitlines()).fullmatch(printed):
        raise Wrong(f"line {block.line}: The document shows:\n{block.text}\nThe program printed:\n{printed}")


def _compare(block: Block, path: Path) -> None:
    if block.text.strip("\n") not in path.read_text(encoding="utf-8"):
        raise Wrong(f"line {block.line}: the block is not a part of {path.relative_to(ROOT)}, line by line.")


def _file_of(document: Document, name: str, file: str) -> Block:
    for block in read(ROOT / name).blocks:
        if block.file == file:
            return block
    raise BadDocument(f"{document.name} uses {file} of {name}, which has no such block.")


def _moved(block: Block, ports: Ports) -> Block:
    return Block(block.line, block.language, ports.moved(block.text), block.file, block.marks)


def _write(folder: Path, block: Block) -> None:
    assert block.file is not None
    path = folder / block.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")


def _is_mentioned(document: Document, number: int, file: str) -> bool:
    """Whether a later block runs or imports this file."""
    stem = Path(file).stem
    return any(re.search(rf"\b{re.escape(stem)}\b", block.text) for block in document.blocks[number + 1 :])

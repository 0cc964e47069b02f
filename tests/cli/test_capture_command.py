"""`actors capture`: what happened becomes a test."""

from __future__ import annotations

import asyncio
import datetime
import os
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actors.cli.commands import cli
from actors.cli.replay.captured import changed_entry
from actors.cli.replay.python_text import Invoked, Source, lines
from actors.cli.replay.redaction import Redaction
from actors.testing.entries import Run, SetState
from tests.cli.past_app import CLASSES, Letters
from tests.cli.past_records import records
from tests.world import World

ROOT = Path(__file__).parents[2]
APP = "tests.cli.past_app:app"


class File:
    """A file with invocations, and captures of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids = asyncio.run(records(path))

    def capture(self, name: str, *options: str) -> Result:
        return CliRunner().invoke(cli, ["capture", self.ids.get(name, name), APP, "--db", str(self.path), *options])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> File:
    return File(tmp_path_factory.mktemp("past") / "past.db")


@pytest.fixture(autouse=True)
def folder() -> Iterator[None]:
    before = os.getcwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


def ran(source: str) -> list[str]:
    """The names of the tests in a captured file, which must all pass."""
    names: dict[str, Any] = {}
    exec(compile(source, "captured", "exec"), names)
    tests = [name for name in names if name.startswith("test_")]
    for name in tests:
        names[name]()
    return tests


def test_a_captured_test_reads_like_one_that_a_person_has_written(file: File) -> None:
    result = file.capture("checkout")
    assert result.exit_code == 0
    assert (
        result.stdout
        == """import asyncio

from actors.testing import replayed
from actors.testing.entries import Call, Run, SetState, Sleep

from tests.cli.past_app import Order, Stock


def test_checkout_of_2023_11_14() -> None:
    run = asyncio.run(
        replayed(
            Order.checkout,
            key="o-1",
            arguments=[4],
            before={},
            calls=[Stock],
            journal=[
                SetState("quantity", 4),
                Run("mail", result="sent hello"),
                Call("Stock/books/reserve", [4], result=89),
                Sleep(0.01),
                SetState("status", "complete, sent hello, 89 left"),
            ],
        ),
    )
    assert run.outcome == "complete, sent hello, 89 left"
    assert run.state == {"quantity": 4, "status": "complete, sent hello, 89 left"}
"""
    )
    assert ran(result.stdout) == ["test_checkout_of_2023_11_14"]


@pytest.mark.parametrize(
    "name", ["both", "reader", "service", "run", "tick", "refused", "killed", "open", "restarted", "letters"]
)
def test_invocations_of_every_sort_are_captured(file: File, name: str) -> None:
    result = file.capture(name)
    assert result.exit_code == 0, result.output
    assert len(ran(result.stdout)) == 1


def test_the_invocations_that_it_has_called_are_captured_too(file: File) -> None:
    result = file.capture("checkout", "--with-callees")
    assert result.exit_code == 0, result.output
    assert ran(result.stdout) == ["test_checkout_of_2023_11_14", "test_reserve_of_2023_11_14"]


def test_a_callee_that_no_longer_fits_is_left_out(tmp_path: Path) -> None:
    async def stored() -> tuple[bytes, str]:
        async with World(*CLASSES) as world:
            sent = await world.app.object(Letters, "l").ask.send()
            await sent.result()
            return world.disk.image(), sent.id

    image, id = asyncio.run(stored())
    path = tmp_path / "letters.db"
    path.write_bytes(image)
    result = CliRunner().invoke(cli, ["capture", id, APP, "--db", str(path), "--with-callees"])
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("Left out: Order/odd/odd (inv_1") and "no longer ends as stored" in result.stderr
    assert ran(result.stdout) == ["test_ask_of_2023_11_14"]


def test_an_outcome_that_the_code_does_not_give_is_not_captured(file: File) -> None:
    result = file.capture("odd")
    assert result.exit_code == 1 and result.stdout == "" and result.stderr.count("\n") == 1
    assert "no longer ends as stored: It returns " in result.stderr


def test_a_value_of_more_than_a_megabyte_requires_large(file: File) -> None:
    result = file.capture("huge")
    assert result.exit_code == 1 and result.stdout == ""
    assert "holds a value of 1,000,017 characters" in result.stderr and "--large" in result.stderr
    result = file.capture("huge", "--large")
    assert result.exit_code == 0 and len(result.stdout) > 1_000_000
    assert len(ran(result.stdout)) == 1


def test_the_database_may_be_named_by_a_variable_or_by_a_url(file: File) -> None:
    runner = CliRunner(env={"ACTORS_DB": str(file.path)})
    assert runner.invoke(cli, ["capture", file.ids["checkout"], APP]).exit_code == 0
    assert file.capture("checkout", "--db", f"sqlite:///{file.path}").exit_code == 0
    result = runner.invoke(cli, ["capture", file.ids["checkout"], "tests.cli.past_app:nothing"])
    assert result.exit_code == 2 and "There is no 'nothing'" in result.stderr and result.stdout == ""


# --- what must not be in it -----------------------------------------------------------------------------------------------


def test_no_id_of_the_file_is_left_in_a_captured_test(file: File) -> None:
    source = file.capture("letters").stdout
    assert file.ids["letters"] not in source
    assert source.count("prom_1") == source.count("inv_1") == 3  # in the write, in the outcome and in the state
    assert ran(source)


def test_what_the_code_prints_is_not_in_the_test(file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = 'print("a module prints")\nfrom tests.cli.past_app import app\n'
    (tmp_path / "prints_on_import.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    command = ["capture", file.ids["letters"], "prints_on_import:app", "--db", str(file.path)]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert "prints" not in result.stdout and ran(result.stdout)
    assert "a module prints" in result.stderr and "a handler prints" in result.stderr


def test_a_redacted_value_is_gone_wherever_it_stood(file: File) -> None:
    source = file.capture("letters", "--redact", "address", "--redact", "pin").stdout
    for secret in ("alice@example.org", "alice", "4711"):
        assert secret not in source
    assert "to redacted-1: your pin is 1000001" in source
    assert ran(source)


@pytest.mark.parametrize("address", ["alice@example.org", "a secret " * 30])
def test_what_an_open_invocation_waits_for_is_redacted_too(tmp_path: Path, address: str) -> None:
    async def stored() -> tuple[bytes, list[str]]:
        async with World(*CLASSES) as world:
            sent = await world.app.object(Letters, "l").forward.send(address)
            follows = await world.app.object(Letters, "f").follow.send(sent.id)
            await world.settle(4)
            return world.disk.image(), [sent.id, follows.id]

    image, ids = asyncio.run(stored())
    path = tmp_path / "letters.db"
    path.write_bytes(image)
    for id, options in zip(ids, (["--redact", "address"], []), strict=True):
        result = CliRunner().invoke(cli, ["capture", id, APP, "--db", str(path), *options])
        assert result.exit_code == 0, result.output
        assert address[:20] not in result.stdout
        assert ids[0] not in result.stdout
        assert "assert run.waits_for ==" in result.stdout or "run.waits_for\n" in result.stdout
        assert ran(result.stdout)


def test_a_test_that_fails_without_the_redacted_value_says_so(file: File) -> None:
    result = file.capture("checkout", "--redact", "status")
    assert result.exit_code == 1
    assert "# This test does not pass: the code depends on a redacted value." in result.stdout
    with pytest.raises(Exception, match=r"redacted-1|no longer fits"):
        ran(result.stdout)


def test_a_name_that_nothing_has_is_refused(file: File) -> None:
    result = file.capture("checkout", "--redact", "adress")
    assert result.exit_code == 1 and result.stdout == ""
    assert "--redact 'adress': no value has this name" in result.stderr


def test_the_name_of_a_step_is_redacted_and_that_of_a_state_is_not() -> None:
    redaction = Redaction(["address"])
    redaction.collect("address", "ann@example.org")
    step, state = (
        Run("mail ann@example.org", result="to ann@example.org"),
        SetState("ann@example.org", "ann@example.org"),
    )
    assert changed_entry(step, redaction.value) == Run("mail redacted-1", result="to redacted-1")
    assert changed_entry(state, redaction.value) == SetState("ann@example.org", "redacted-1")


def test_a_redacted_text_is_found_within_others_the_longest_first() -> None:
    redaction = Redaction(["name"])
    redaction.collect("person", {"name": ["Bo", 'Bo "the" Builder'], "age": 5})
    assert redaction.met == {"name"}
    assert redaction.value(["Bo", 'Bo "the" Builder pays Bo', '{"x": "Bo \\"the\\" Builder"}', 5, {"Bo": True}]) == [
        "redacted-1",
        "redacted-2 pays redacted-1",
        '{"x": "redacted-2"}',
        5,
        {"redacted-1": True},
    ]


# --- how it is formatted --------------------------------------------------------------------------------------------------


def value(rng: random.Random, depth: int = 0) -> Any:
    text = "".join(rng.choice("ab \"'\\\n\té\x00😀{}") for _ in range(rng.choice([0, 1, 3, 20, 70, 90])))
    moment = datetime.datetime(2026, 11, 30, 4, 21, rng.randrange(60), rng.choice([0, 123456]))
    zone = datetime.timezone(datetime.timedelta(hours=rng.choice([0, 2]), minutes=30 * rng.randrange(2)))
    scalars: list[Any] = [
        None,
        True,
        7,
        -1.5e-7,
        1e22,
        float("inf"),
        10**25,
        text,
        text.encode("utf-8"),
        Decimal("1.50"),
        uuid.UUID(int=5),
    ]
    scalars += [
        moment,
        moment.replace(tzinfo=zone),
        moment.time(),
        moment.date(),
        datetime.timedelta(days=-1, seconds=5),
    ]
    if depth == 3 or rng.random() < 0.4:
        return rng.choice(scalars)
    items = [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    hashable = {rng.randrange(99) for _ in range(rng.randrange(4))}
    named = {f"name {place}": item for place, item in enumerate(items)}
    return rng.choice([items, tuple(items), hashable, frozenset(hashable), named])


def test_any_value_is_written_as_ruff_formats_it(tmp_path: Path) -> None:
    rng = random.Random(1)
    values = [value(rng) for _ in range(300)]
    text = ["import datetime", "from decimal import Decimal", "from uuid import UUID", ""]
    for number, one in enumerate(values):
        text += lines(Invoked("f", [Source(f"x{number}"), one], [("named", one)]))
    path = tmp_path / "values.py"
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    found: list[Any] = []
    names: dict[str, Any] = {f"x{number}": None for number in range(300)}
    names["f"] = lambda _, one, named: found.append((one, named))
    exec(path.read_text(encoding="utf-8"), names)
    assert found == [(one, one) for one in values]
    assert [type(one) for one, _ in found] == [type(one) for one in values]


def test_a_long_outcome_is_written_as_ruff_formats_it(tmp_path: Path) -> None:
    async def stored() -> bytes:
        async with World(*CLASSES) as world:
            for text in ("x" * 50, "x" * 90, "y'\"" * 30):
                await world.app.object(Letters, "l").echo(text)
            numbers.extend(
                str(seq) for (seq,) in world.disk.query("SELECT invocation FROM invocations WHERE service <> 'Chimes'")
            )
            return world.disk.image()

    numbers: list[str] = []
    path = tmp_path / "letters.db"
    path.write_bytes(asyncio.run(stored()))
    for number in numbers:
        result = CliRunner().invoke(cli, ["capture", number, APP, "--db", str(path)])
        assert result.exit_code == 0, result.output
        (tmp_path / f"test_{number}.py").write_text(result.stdout, encoding="utf-8")
        assert len(ran(result.stdout)) == 1
    assert len(numbers) == 3
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout

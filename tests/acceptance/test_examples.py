"""The order example, copied into a folder of its own and used there as its docstring says."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from pathlib import Path

import pytest

from examples.orders import send_mail

EXAMPLE = Path(__file__).parents[2] / "examples" / "orders.py"
TIMEOUT = 30


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    shutil.copy(EXAMPLE, tmp_path)
    return tmp_path


def orders(shop: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "orders.py", *arguments]
    return subprocess.run(command, cwd=shop, capture_output=True, text=True, timeout=TIMEOUT, check=False)


@contextmanager
def placed(shop: Path, number: str, quantity: int) -> Iterator[str]:
    """Place an order in a process that is killed at the end of the block; the id in the mail it sent."""
    command = [sys.executable, "orders.py", "place", number, str(quantity)]
    process = subprocess.Popen(command, cwd=shop, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        mail = process.stdout.readline()
        assert mail.startswith("[mail to boss]")
        yield mail.split()[-1]
    finally:
        process.kill()
        process.communicate()


def mails(shop: Path, to: str) -> list[str]:
    return [line for line in (shop / "outbox.txt").read_text().splitlines() if line.startswith(f"to {to}:")]


def test_an_order_whose_process_is_killed_is_approved_in_another_one_and_completes(shop: Path) -> None:
    with placed(shop, "o-1", 3) as id:
        pass
    assert "3 books, waiting for approval" in orders(shop, "show", "o-1").stdout
    assert f": {id}\n" in orders(shop, "waiting").stdout
    approved = orders(shop, "approve", id)
    assert (approved.returncode, approved.stderr) == (0, "")
    assert "3 books, complete, approved by the boss, 97 books left\n" in approved.stdout
    # Killed right after sending, it may have sent the mail to the boss once more; but never with another id.
    assert {mail.split()[-1] for mail in mails(shop, "boss")} == {id}
    assert mails(shop, "customer") == ["to customer: Order o-1 is on its way."]
    assert orders(shop, "waiting").stdout == ""


def test_the_same_approval_again_changes_nothing_and_a_different_answer_is_refused(shop: Path) -> None:
    with placed(shop, "o-1", 3) as id:
        pass
    orders(shop, "approve", id)
    again, opposite = orders(shop, "approve", id), orders(shop, "refuse", id)
    assert (again.returncode, again.stderr) == (0, "")
    assert opposite.returncode == 1
    assert "already has another completion" in opposite.stderr
    assert len(mails(shop, "customer")) == 1


def test_a_refused_order_and_one_beyond_the_stock_reserve_nothing(shop: Path) -> None:
    with placed(shop, "o-1", 3) as id:
        pass
    assert "refused: too many books" in orders(shop, "refuse", id).stdout
    with placed(shop, "o-2", 101) as id:
        pass
    assert "refused: only 100 in stock" in orders(shop, "approve", id).stdout


def test_mistakes_get_one_line_that_explains_them(shop: Path) -> None:
    with placed(shop, "o-1", 3) as id:
        busy = orders(shop, "show", "o-1")
        assert busy.returncode == 1
        assert "is in use by process" in busy.stderr
    orders(shop, "approve", id)
    for arguments, message in (
        (("place", "o-1", "1"), "was placed before"),
        (("approve", "o-1"), "not an awakeable id"),
    ):
        done = orders(shop, *arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


class Writes(io.StringIO):
    """A screen that remembers what was written to it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def write(self, text: str) -> int:
        self.texts.append(text)
        return super().write(text)


def test_a_mail_that_is_sent_in_a_thread_shares_its_line_with_nothing_else(tmp_path: Path) -> None:
    with chdir(tmp_path), redirect_stdout(Writes()) as screen:
        send_mail("boss", "Order o-1")
    assert screen.texts == ["[mail to boss] Order o-1\n"]

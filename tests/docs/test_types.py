"""The Python blocks of all documents as one program: mypy --strict, pyright and ruff find nothing in them."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from tests.docs import types
from tests.docs.documents import documents, read
from tests.docs.types import Module


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> list[Module]:
    return types.write([read(path) for path in documents()], tmp_path_factory.mktemp("blocks"))


@pytest.mark.parametrize("checker", [types.mypy, types.pyright, types.ruff])
def test_a_checker_finds_nothing_in_the_blocks(
    checker: Callable[[list[Module]], CompletedProcess[str]], modules: list[Module]
) -> None:
    done = checker(modules)
    assert done.returncode == 0, done.stdout + done.stderr

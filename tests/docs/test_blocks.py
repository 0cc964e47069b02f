"""Every block of README.md and of the pages for users does what the document says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.console import Wrong
from tests.docs.documents import ROOT, documents, read
from tests.docs.running import run

DOCUMENTS = documents()
LEARN = [ROOT / "docs" / page for page in re.findall(r'"(learn/[\w-]+\.md)"', (ROOT / "zensical.toml").read_text())]
NOT_RUN = 2  # blocks with a reason instead of a run, in all documents: this number may only go down


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path not in LEARN], ids=name_of)
@pytest.mark.timeout(180)
def test_each_block_does_what_its_document_says(path: Path, tmp_path: Path) -> None:
    run(read(path), tmp_path / "reader")


@pytest.mark.timeout(300)
def test_the_pages_of_learn_work_one_after_the_other_in_one_folder(tmp_path: Path) -> None:
    assert sorted(LEARN) == sorted(path for path in DOCUMENTS if path.parent.name == "learn")
    for path in LEARN:
        try:
            run(read(path), tmp_path / "reader")
        except Wrong as wrong:
            pytest.fail(f"{name_of(path)}: {wrong}", pytrace=False)


def test_few_blocks_are_shown_without_a_run() -> None:
    reasons = [
        f"{name_of(path)}:{block.line}: {block.marks['no-run']}"
        for path in DOCUMENTS
        for block in read(path).blocks
        if "no-run" in block.marks
    ]
    assert len(reasons) <= NOT_RUN, "\n".join(reasons)


def test_code_of_other_systems_is_python() -> None:
    for path in DOCUMENTS:
        for block in read(path).blocks:
            if "theirs" in block.marks and block.language == "python":
                ast.parse(block.text)

"""`actors backup` and `actors restore`, as they are typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.storage.rows import OpenStore, batch, column, invocation

ROOT = Path(__file__).parents[2]


def actors(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "actors", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


async def test_a_database_is_backed_up_beside_its_app_and_restored_after_it(tmp_path: Path) -> None:
    path, copy = tmp_path / "app.db", tmp_path / "monday.db"
    async with OpenStore(str(path)) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        done = actors("backup", f"sqlite:///{path}", str(copy))
        assert (done.returncode, done.stderr) == (0, "")
        assert f"To go back: actors restore {copy} {path}" in done.stdout
        again = actors("backup", str(path), str(copy))
        assert again.returncode == 1 and f"Error: {copy} exists" in again.stderr
        await store.commit(batch(2, invocations=[invocation(2)]))
        refused = actors("restore", str(copy), str(path))
        assert refused.returncode == 1 and "is in use by process" in refused.stderr
    done = actors("restore", str(copy), str(path))
    assert done.stdout == f"{path} is now a copy of {copy}. The old file is kept as {path}.before-restore.\n", (
        done.stderr
    )
    for name, seqs in ((path, [1]), (f"{path}.before-restore", [1, 2])):
        async with OpenStore(str(name)) as store:
            assert column(await store.query("SELECT seq FROM invocation ORDER BY 1")) == seqs


def test_both_commands_say_what_they_take() -> None:
    for command, words in (("backup", "FILE DESTINATION"), ("restore", "BACKUP FILE")):
        shown = actors(command, "--help")
        assert shown.returncode == 0 and words in shown.stdout
        assert actors(command, "one").returncode == 2

"""A PostgreSQL of this machine's packages, in a temporary folder, with the settings that initdb writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is not None:
        return found
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if not packaged:
        raise SystemExit(f"{name} is not installed: apt install postgresql")
    return str(packaged[-1])


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The URL of a new, empty database, reached through a Unix socket in the folder."""
    folder.mkdir()
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # the server refuses to run as root
    if user:
        folder.parent.chmod(0o755)
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    initdb = [*user, _program("initdb"), "-D", str(data), "-U", "peer", "-A", "trust"]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder)
    settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
    command = [*user, _program("postgres"), "-D", str(data), *settings]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as server:
        try:
            deadline = time.monotonic() + 30
            while subprocess.run([_program("pg_isready"), "-h", str(folder), "-q"], check=False).returncode:
                if time.monotonic() > deadline:
                    raise SystemExit("PostgreSQL did not start within 30 s.")
                time.sleep(0.1)
            yield f"postgresql+psycopg://peer@/postgres?host={folder}"
        finally:
            server.terminate()
            server.wait(60)

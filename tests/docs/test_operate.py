"""Files for other programs in the pages: units of systemd, YAML, the configuration of proxies."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import Block, documents, read


def blocks(language: str) -> list[tuple[Path, Block]]:
    return [(path, block) for path in documents() for block in read(path).blocks if block.language == language]


UNITS = [(path, block) for path, block in blocks("ini") if (block.file or "").endswith(".service")]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize(("path", "block"), UNITS, ids=lambda value: getattr(value, "name", ""))
def test_a_unit_is_valid_for_systemd(path: Path, block: Block, tmp_path: Path) -> None:
    assert block.file is not None
    unit = tmp_path / block.file
    lines = [
        f"ExecStart={sys.executable} -m actors{line.partition('/actors')[2]}" if line.startswith("ExecStart=") else line
        for line in block.text.splitlines()
        if not line.startswith(("User=", "WorkingDirectory="))  # of another machine
    ]
    unit.write_text("\n".join(lines))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if block.file in line]
    assert ours == [] and done.returncode == 0, done.stderr


def test_a_page_has_a_unit() -> None:
    assert UNITS


def test_yaml_can_be_read() -> None:
    yaml = pytest.importorskip("yaml", reason="the dev extra brings it")
    found = [list(yaml.safe_load_all(block.text)) for _, block in blocks("yaml")]
    assert found and all(found)


@pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed")
def test_caddy_understands_its_configuration(tmp_path: Path) -> None:
    for _, block in blocks("caddyfile"):
        (tmp_path / "Caddyfile").write_text(block.text)
        command = ["caddy", "adapt", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_understands_its_configuration(tmp_path: Path) -> None:
    for _, block in blocks("nginx"):
        lines = [line for line in block.text.splitlines() if "ssl_certificate" not in line]
        text = "\n".join(lines).replace("listen 443 ssl http2", "listen 127.0.0.1:1")
        paths = " ".join(
            f"{name}_temp_path {tmp_path};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        whole = f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off; {paths}\n{text}\n}}\n"
        (tmp_path / "nginx.conf").write_text(whole)
        command = ["nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 or "bind()" in done.stderr, done.stderr

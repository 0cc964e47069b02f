"""A server and a browser for each module of tests of the console. Without Chromium they are skipped, and say so.

Playwright's loop runs from the start to the end of `browser`: no asyncio test may run within it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request, Response

CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
ROOT = Path(__file__).parents[2]
LIFELINE, _held = os.pipe()  # its reading end closes when this process ends, and the server with it
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
OPTIONS += ["--disable-component-update", "--disable-sync", "--disable-quic", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("the console is tested in Chromium, which is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield found
        found.close()


@dataclass
class Server:
    url: str
    process: subprocess.Popen[str]

    @property
    def console(self) -> str:
        return f"{self.url}/restate/console/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("troubled")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    module = [sys.executable, "-m", "tests.console.troubled"]
    subprocess.run(module, cwd=folder, env=environment, stdin=LIFELINE, check=True, capture_output=True, timeout=60)
    process = subprocess.Popen(
        [sys.executable, "-m", "actors", "serve", "tests.console.troubled:app", "--port", "0"],
        cwd=folder,
        env=environment,
        stdin=LIFELINE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving ")
        yield Server(line.split(" at ")[1].split(" from ")[0], process)
    finally:
        process.kill()
        process.communicate()


@dataclass
class Window:
    """A page of the browser, and what went wrong in it."""

    page: Page
    server: Server
    faults: list[str] = field(default_factory=list)
    expects: str | None = None  # a part of the faults that a test provokes

    def open(self, address: str = "") -> None:
        self.page.goto(self.server.console + address)


@pytest.fixture
def window(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Window]:
    """A window in a browser of its own. A test fails on any message of its console, and on any request to another origin."""
    asked: dict[str, Any] = getattr(request, "param", {})
    context: BrowserContext = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **asked})
    page = context.new_page()
    page.set_default_timeout(15_000)
    found = Window(page, server)

    def requested(sent: Request) -> None:
        if not sent.url.startswith(server.url):
            found.faults.append(f"request: {sent.url}")

    def answered(got: Response) -> None:
        if got.status >= 400:
            found.faults.append(f"{got.status}: {got.url} {got.text()}")

    page.on("console", lambda message: found.faults.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.faults.append(f"error: {error}"))
    page.on("dialog", lambda dialog: found.faults.append(f"dialog: {dialog.message}"))
    page.on("request", requested)
    page.on("response", answered)
    yield found
    context.close()
    faults = "\n".join(fault for fault in found.faults if found.expects is None or found.expects not in fault)
    assert not faults, faults

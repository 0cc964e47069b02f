"""The screens of the console, as an operator uses them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.console.conftest import Window
from tests.console.hostile import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.xdist_group("console")
SCREENS = ["", "#/trouble?older=0", "#/invocations?status=all"]
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}}
DARK: dict[str, Any] = {"color_scheme": "dark"}


def headings(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("h1, h2").all_inner_texts()]


def axe(page: Page) -> list[str]:
    """The findings of axe."""
    from axe_playwright_python.sync_playwright import Axe

    results = Axe().run(page)
    return [
        f"{one['id']}: {[node['html'][:120] for node in one['nodes'][:3]]}" for one in results.response["violations"]
    ]


def test_the_overview_leads_to_the_cause_by_keyboard_alone(window: Window) -> None:
    page = window.page
    window.open("#/trouble?older=0")
    page.get_by_text("Order/o-4711/checkout").first.wait_for()
    page.keyboard.press("j")
    assert "Order/o-4711/checkout" in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    while "Open this invocation" not in page.evaluate("document.activeElement.textContent"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="checkout Order/o-4711").wait_for()
    why = page.get_by_role("region", name="Why it does not move")
    why.wait_for()
    text = why.inner_text()
    assert "is paused" in text and "ConnectionError: upstream refused" in text and "40 messages" in text
    assert text.index("/resume") < text.index("/cancel") < text.index("/kill")
    page.keyboard.press("Backspace")
    page.get_by_role("heading", name="Trouble").wait_for()


def test_the_overview_shows_what_is_open_and_where_it_waits(window: Window) -> None:
    page = window.page
    window.open()
    page.get_by_role("link", name="Order/o-4711").wait_for()
    page.get_by_text("Open: 47").wait_for()
    row = page.get_by_role("row", name=re.compile("^Mailer"))
    assert row.get_by_role("link", name="3").get_attribute("href") == "#/invocations?service=Mailer&status=backing-off"
    row.get_by_role("link", name="3").click()
    page.get_by_text("End of the list.").wait_for()
    assert page.locator("table.rows tbody tr").count() == 3
    assert page.title().endswith("shop.db · invocations")


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("o-4711", "#/invocations?text=o-4711&status=all"),
        ("Mailer", "#/invocations?service=Mailer&status=all"),
        ("Order/o-4711", "#/invocations?service=Order&key=o-4711&status=all"),
        ("Order/o-4711/checkout", "#/invocations?service=Order&key=o-4711&handler=checkout&status=all"),
        ("Mailer/deliver", "#/invocations?service=Mailer&handler=deliver&status=all"),
        ("upstream ref", "#/invocations?error=upstream+ref&status=all"),
        ("no such thing", "#/invocations?error=no+such+thing&status=all"),
    ],
)
def test_a_search_finds_what_it_may_mean(window: Window, typed: str, address: str) -> None:
    window.open()
    window.page.get_by_label("Search for an id").fill(typed)
    window.page.keyboard.press("Enter")
    window.page.wait_for_url(f"**/{address}")
    window.page.get_by_text(re.compile("End of the list|No invocation matches")).wait_for()


@pytest.mark.parametrize(
    ("typed", "says"), [("inv_1AAAAA…J9VI", "was shortened"), ("prom_1nonsense", "is not"), ("", "")]
)
def test_a_search_that_cannot_be_done_says_why_and_stays(window: Window, typed: str, says: str) -> None:
    window.expects = "400"
    window.open("#/trouble")
    window.page.get_by_label("Search for an id").fill(typed)
    window.page.keyboard.press("Enter")
    if says:
        window.page.get_by_role("search").get_by_role("alert").get_by_text(says).wait_for()
    assert window.page.url.endswith("#/trouble")
    window.page.keyboard.press("Escape")
    window.page.keyboard.press("g")
    window.page.keyboard.press("o")
    window.page.get_by_role("heading", name="Open: 4").wait_for()


def test_the_list_of_an_object_begins_with_what_holds_it(window: Window) -> None:
    window.open("#/invocations?service=Order&key=o-4711")
    why = window.page.get_by_role("region", name="Why it does not move")
    why.get_by_text("40 messages").wait_for()
    assert "Order/o-4711/checkout is paused" in why.inner_text() and "/resume" in why.inner_text()


def test_a_list_is_filtered_and_read_on_and_its_url_is_its_state(window: Window) -> None:
    page = window.page
    window.open("#/invocations?status=all")
    rows = page.locator("table.rows tbody tr")
    rows.nth(99).wait_for()
    assert rows.count() == 100
    page.get_by_role("button", name="load more").click()
    rows.nth(150).wait_for()
    page.get_by_label("Filter by").select_option("error")
    page.get_by_label("Value of the filter").fill("UPSTREAM")
    page.keyboard.press("Enter")
    page.get_by_text("End of the list.").wait_for()
    assert "error=UPSTREAM" in page.url and rows.count() == 4
    page.reload()
    page.get_by_text("End of the list.").wait_for()
    assert rows.count() == 4
    page.get_by_role("button", name="remove the filter error contains").click()
    rows.nth(99).wait_for()
    page.go_back()
    page.get_by_text("error contains UPSTREAM").wait_for()


def test_newer_invocations_are_announced_and_shown_when_asked_for(window: Window) -> None:
    page = window.page
    window.open("#/invocations?status=all&service=Stock&key=new")
    page.get_by_text("No invocation matches").wait_for()
    answer = page.request.post(
        f"{window.server.url}/Stock/new/reserve", data="1", headers={"content-type": "application/json"}
    )
    assert answer.status == 200
    page.get_by_role("button", name="1 newer: show").wait_for()
    page.locator("main").focus()
    page.keyboard.press(".")
    page.locator("table.rows tbody tr").first.wait_for()
    assert page.locator("table.rows tbody tr").count() == 1


def test_an_invocation_is_shown_as_it_goes_on(window: Window) -> None:
    page = window.page
    send = page.request.post(f"{window.server.url}/Account/live/approve/send")
    id = send.json()["invocationId"]
    window.open(f"#/invocation/{id}")
    why = page.get_by_role("region", name="Why it does not move")
    why.get_by_text("waits for an awakeable").wait_for()
    awakeable = re.search(r"prom_1[\w-]+", why.inner_text())
    assert awakeable is not None
    page.request.post(
        f"{window.server.url}/restate/awakeables/{awakeable[0]}/resolve",
        data='"yes"',
        headers={"content-type": "application/json"},
    )
    page.get_by_text("It returned").wait_for()
    assert page.get_by_text("✓ succeeded").is_visible()
    window.open()
    page.get_by_label("Search for an id").fill(awakeable[0])  # it has been completed: it still leads to its invocation
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="approve Account/live").wait_for()


def test_calls_lead_up_and_down(window: Window) -> None:
    page = window.page
    window.open("#/invocations?service=Cart&status=open")
    page.locator("table.rows tbody a").first.click()
    page.get_by_role("tab", name="calls").click()
    tree = page.locator(".family > .tree")
    tree.get_by_text("Order/o-4711").wait_for()
    assert tree.get_by_text("Stock/main").is_visible()
    tree.get_by_role("link").first.click()
    page.get_by_role("heading", name="checkout Order/o-4711").wait_for()
    page.get_by_role("tab", name="calls").click()
    page.get_by_text(re.compile("Called by .*Cart/u1")).wait_for()


def test_a_journal_has_a_line_for_each_command(window: Window) -> None:
    page = window.page
    window.open("#/invocations?service=Order&key=o-4711&handler=checkout")
    page.locator("table.rows tbody a").first.click()
    lines = page.locator("table.lines tbody tr")
    lines.nth(3).wait_for()
    assert [line.split("\t")[1].split(" ")[0] for line in lines.all_inner_texts()] == ["input", "call", "set", "run"]
    assert "waits" in (lines.nth(3).get_attribute("class") or "")
    page.get_by_role("tab", name="journal").click()
    page.get_by_role("columnheader", name="answers").wait_for()


def test_a_long_value_is_loaded_when_asked_for(window: Window) -> None:
    page = window.page
    window.open("#/invocations?service=Odd&key=kept&status=all")
    page.locator("table.rows tbody a").first.click()
    page.get_by_role("tab", name="journal").click()
    load = page.get_by_role("button", name=re.compile("load 9"))
    load.first.wait_for()
    before = load.count()
    load.first.click()
    page.wait_for_function("(before) => document.querySelectorAll('.cell button').length < before", arg=before)
    assert "x" * 9000 in page.locator("main").inner_text()


@pytest.mark.parametrize(
    "address",
    ["#/invocation/nonsense!", "#/invocation/inv_1nonsense", "#/invocation/", "#/nowhere", "#/__proto__", "#/toString"],
)
def test_an_address_that_means_nothing_is_explained(window: Window, address: str) -> None:
    window.expects = "400"
    window.open(address)
    window.page.get_by_text(re.compile("is not a valid|no such screen|is not an invocation id")).first.wait_for()


@pytest.mark.parametrize("window", [{}, DARK], indirect=True, ids=["light", "dark"])
@pytest.mark.parametrize("address", SCREENS)
def test_axe_finds_nothing(window: Window, address: str) -> None:
    page = window.page
    window.open(address)
    page.get_by_text("● live").wait_for()
    page.locator("main h1").wait_for(state="attached")
    page.get_by_text(re.compile("o-4711|upstream|Cart/u1")).first.wait_for()
    assert axe(page) == []
    if address.startswith("#/invocations"):
        for tab in ("timeline", "journal", "calls", "JSON"):
            if tab == "timeline":
                window.open("#/invocations?service=Order&key=o-4711&handler=checkout")
                page.locator("table.rows tbody a").first.click()
            page.get_by_role("tab", name=tab).click()
            page.get_by_role("region", name="Why it does not move").wait_for()
            assert axe(page) == [], tab


@pytest.mark.parametrize("window", [PHONE], indirect=True, ids=["phone"])
@pytest.mark.parametrize("address", [*SCREENS, "an invocation"])
def test_a_phone_shows_everything_without_scrolling_sideways(window: Window, address: str) -> None:
    page = window.page
    if address == "an invocation":
        window.open("#/invocations?service=Order&key=o-4711&handler=checkout")
        page.locator("table.rows tbody a").first.click()
        page.get_by_role("region", name="Why it does not move").wait_for()
    else:
        window.open(address)
        page.get_by_text(re.compile("o-4711|upstream|Cart/u1")).first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_hostile_texts_are_shown_and_never_executed(window: Window) -> None:
    from playwright.sync_api import expect

    page = window.page
    window.page.add_init_script(
        "addEventListener('securitypolicyviolation', (event) => console.error('violation', event.violatedDirective))"
    )
    for address in SCREENS:
        window.open(address)
        page.get_by_text("● live").wait_for()
    window.open("#/invocations?service=Odd&status=all")
    page.locator("table.rows tbody tr").nth(2).wait_for()
    text = page.locator("main").inner_text()
    assert "<img src=x onerror=alert(1)>" in text and "\\u202e" in text and "\u202e" not in text
    for row in range(3):
        window.open("#/invocations?service=Odd&status=all")
        page.locator("table.rows tbody a").nth(row).click()
        for tab in ("journal", "calls", "JSON", "timeline"):
            page.get_by_role("tab", name=tab).click()
        expect(page.locator("main")).to_contain_text("onerror=alert(1)")
        assert "\u202e" not in page.locator("main").inner_text()
    assert page.locator("img, iframe, main script, object, embed").count() == 0
    assert not page.evaluate(
        "(text) => [...document.querySelectorAll('a')].some((link) => link.href.startsWith('javascript'))", HOSTILE
    )

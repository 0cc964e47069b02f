"""Web pages of other origins: what they may ask, what they may read, and that they never reach the admin routes."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.middleware.cors import CORSMiddleware

from actors import App, TerminalError, VirtualObject, handler
from actors.errors import DefinitionError
from actors.http_options import Cors, HttpOptions
from tests.http.asgi import Answer, ask

PAGE = "https://shop.example"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "content-type, X-Own"}


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count

    @handler
    async def fail(self) -> None:
        raise TerminalError("sold out", code=409)


def app_with(cors: Any, **options: Any) -> App:
    return App(Counter, storage="sqlite://", http=HttpOptions(cors=cors, **options))


async def asked(
    app: App, method: str, path: str, body: bytes = b"", origin: str | None = PAGE, **headers: str
) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(app, method, path, body, headers={**given, **({"origin": origin} if origin else {})})


def allowed(answer: Answer) -> tuple[str | None, str | None]:
    return answer.headers.get("access-control-allow-origin"), answer.headers.get("vary")


async def test_by_default_no_page_of_another_origin_is_let_in() -> None:
    async with app_with(None) as app:
        assert (await asked(app, "OPTIONS", "/Counter/a/add", b"", **PREFLIGHT)).status == 405
        answer = await asked(app, "POST", "/Counter/a/add", b"1")
        assert answer.status == 200 and not [name for name in answer.headers if name.startswith("access-")]


@pytest.mark.parametrize(
    "path", ["/Counter/a/add", "/restate/health", "/openapi.json", "/no/such/path", "/restate/a/x/resolve"]
)
async def test_a_preflight_is_answered_before_anything_is_asked(path: str) -> None:
    async with app_with([PAGE], token="t") as app:
        answer = await asked(app, "OPTIONS", path, b"", **PREFLIGHT)
        assert (answer.status, answer.body) == (204, b"")
        assert allowed(answer)[0] == PAGE
        assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST"
        assert "x-own" in answer.headers["access-control-allow-headers"]
        assert answer.headers["access-control-max-age"] == "600"
        assert "content-length" not in answer.headers and "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/Counter/a/add", b"1", 200),
        ("POST", "/Counter/a/add/send", b"1", 202),
        ("POST", "/Counter/a/add", b'"x"', 400),
        ("POST", "/Counter/a/fail", b"", 409),
        ("GET", "/Counter/a/nothing", b"", 404),
        ("PUT", "/Counter/a/add", b"", 405),
        ("POST", "/Counter/" + "a" * 20_000 + "/add", b"1", 414),
        ("OPTIONS", "/Counter/a/add", b"", 405),
    ],
)
async def test_answers_and_errors_can_be_read_by_an_allowed_page_only(
    method: str, path: str, body: bytes, status: int
) -> None:
    async with app_with([PAGE, "http://localhost:5173"]) as app:
        for origin in (PAGE, "http://localhost:5173"):
            answer = await asked(app, method, path, body, origin)
            assert (answer.status, allowed(answer)) == (status, (origin, "origin"))
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"x-restate-id", "idempotency-expires", "retry-after"} <= {*exposed}
        for stranger in ("https://evil.example", PAGE + ".evil.example", "null", PAGE + ":444", None):
            answer = await asked(app, method, path, body, stranger)
            assert (answer.status, allowed(answer)) == (status, (None, "origin"))


async def test_an_app_that_does_not_run_and_a_missing_token_can_be_read_too() -> None:
    app = app_with(PAGE, token="t")
    assert allowed(await asked(app, "POST", "/Counter/a/add", b"1"))[0] == PAGE
    async with app:
        answer = await asked(app, "POST", "/Counter/a/add", b"1")
        assert (answer.status, allowed(answer)[0]) == (401, PAGE)


async def test_any_origin_needs_no_vary() -> None:
    async with app_with("*") as app:
        assert allowed(await asked(app, "POST", "/Counter/a/add", b"1")) == ("*", None)
        assert allowed(await asked(app, "POST", "/Counter/a/add", b"1", None)) == (None, None)
        assert allowed(await asked(app, "OPTIONS", "/Counter/a/add", b"", **PREFLIGHT))[0] == "*"


@pytest.mark.parametrize(
    ("origins", "origin", "fits"),
    [
        ("https://*.shop.example", "https://a.shop.example", True),
        ("https://*.shop.example", "https://a.b.shop.example", True),
        ("https://*.shop.example", "https://shop.example", False),
        ("https://*.shop.example", "https://evil-shop.example", False),
        ("https://*.shop.example", "https://evil.example/.shop.example", False),
        ("https://*.shop.example", "http://a.shop.example", False),
        ("http://localhost:*", "http://localhost:5173", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "http://localhost:5173.evil.example", False),
        ("https://shop.example", "https://shopxexample", False),
        ("http://[::1]:8000", "http://[::1]:8000", True),
    ],
)
async def test_a_star_stands_for_subdomains_or_for_a_port_only(origins: str, origin: str, fits: bool) -> None:
    async with app_with(origins) as app:
        answer = await asked(app, "OPTIONS", "/Counter/a/add", b"", origin, **PREFLIGHT)
        assert (answer.status, allowed(answer)[0]) == ((204, origin) if fits else (403, None))


async def test_what_is_not_allowed_is_refused_in_the_preflight_and_says_why() -> None:
    async with app_with(Cors(PAGE, headers=["X-Own"], max_age=0, credentials=True, expose=["etag"])) as app:
        fine = await asked(app, "OPTIONS", "/Counter/a/add", b"", **PREFLIGHT)
        assert (fine.status, fine.headers["access-control-allow-credentials"]) == (204, "true")
        assert fine.headers["access-control-max-age"] == "0"
        assert (await asked(app, "GET", "/docs")).headers["access-control-expose-headers"].endswith(", etag")
        for changed, words in (
            ({"access-control-request-method": "PATCH"}, "PATCH"),
            ({"access-control-request-headers": "x-other"}, "x-other"),
        ):
            answer = await asked(app, "OPTIONS", "/Counter/a/add", b"", **{**PREFLIGHT, **changed})
            assert (answer.status, answer.json["error"], words in answer.json["message"]) == (403, "cors_refused", True)
            assert allowed(answer)[0] is None
    async with app_with("*") as app:
        bad = {**PREFLIGHT, "access-control-request-headers": "x y, ü"}
        assert (await asked(app, "OPTIONS", "/Counter/a/add", b"", **bad)).status == 403


@pytest.mark.parametrize("path", ["/restate/admin/invocations", "/restate/%61dmin/invocations", "/restate/admin"])
@pytest.mark.parametrize("origins", ["*", PAGE])
async def test_the_admin_routes_are_for_no_page_of_another_origin(path: str, origins: str) -> None:
    async with app_with(origins, admin_token="t") as app:
        for answer in (
            await asked(app, "OPTIONS", path, b"", **PREFLIGHT),
            await asked(app, "GET", path, authorization="Bearer t"),
            await asked(app, "GET", path),
        ):
            assert not [name for name in answer.headers if name.startswith("access-")]
            assert answer.status != 204


async def test_it_says_the_same_as_starlettes_middleware() -> None:
    """Where both say something; ours adds Vary where the answer depends on an origin that was not sent."""
    wrapped = CORSMiddleware(
        App(Counter, storage="sqlite://"), allow_origins=[PAGE], allow_methods=["GET", "POST"], allow_headers=["*"]
    )
    async with app_with(PAGE) as app, wrapped.app:  # type: ignore[attr-defined]
        for origin in (PAGE, "https://evil.example"):
            ours = await asked(app, "POST", "/Counter/a/add", b"1", origin)
            theirs: Answer = await asked(wrapped, "POST", "/Counter/a/add", b"1", origin)  # type: ignore[arg-type]
            assert (ours.status, ours.body) == (theirs.status, theirs.body)
            assert allowed(ours)[0] == allowed(theirs)[0]


@pytest.mark.parametrize(
    ("cors", "words"),
    [
        ("https://shop.example/", "without a slash"),
        ("shop.example", "scheme"),
        ("HTTPS://SHOP.EXAMPLE", "lower case"),
        ("null", "not an origin"),
        ("https://*", "not an origin"),
        ("https://a*.example", "not an origin"),
        ([], "at least one"),
        (["*", PAGE], "stands alone"),
        (5, "origins=5"),
        ([5], "origins="),
        (lambda: Cors("*", credentials=True), "Name the origins"),
        (lambda: Cors(PAGE, max_age=-1), "max_age=-1"),
        (lambda: Cors(PAGE, max_age=1.5), "max_age=1.5"),  # type: ignore[arg-type]
        (lambda: Cors(PAGE, headers="x y"), "'x y'"),
        (lambda: Cors(PAGE, expose=["a:b"]), "'a:b'"),
        (lambda: Cors(PAGE, credentials="no"), "True or False"),  # type: ignore[arg-type]
        (lambda: Cors(orgins=PAGE), "Did you mean 'origins'?"),  # type: ignore[call-arg]
    ],
)
def test_what_no_browser_would_ever_send_is_refused_at_once(cors: Any, words: str) -> None:
    make: Any = cors if callable(cors) else lambda: cors
    with pytest.raises(DefinitionError) as refused:
        HttpOptions(cors=make())
    assert words in str(refused.value)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    "path", ["/Counter/a/add", "/Counter/a/add/send", "/restate/call/Counter/a/add", "/restate/a/x/resolve"]
)
async def test_a_page_of_another_site_cannot_call_handlers(path: str, method: str) -> None:
    """As browsers send what a form, a picture or a script without CORS asks for: a page needs no answer to do harm."""
    async with app_with(None) as app:
        answer = await asked(app, method, path, b"1", **{"sec-fetch-site": "cross-site"})
        assert (answer.status, answer.json["error"]) == (403, "cors_refused")
        assert (await app.state("Counter", "a")).texts == {}


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none", None])
async def test_requests_of_the_same_site_and_of_no_page_are_served(site: str | None) -> None:
    async with app_with(None) as app:
        headers = {"sec-fetch-site": site} if site else {}
        assert (await asked(app, "POST", "/Counter/a/add", b"1", origin=None, **headers)).status == 200


async def test_a_page_of_another_site_that_is_allowed_may_call() -> None:
    async with app_with([PAGE]) as app:
        headers = {"sec-fetch-site": "cross-site"}
        assert (await asked(app, "POST", "/Counter/a/add", b"1", **headers)).status == 200
        other = await asked(app, "POST", "/Counter/a/add", b"1", origin="https://evil.example", **headers)
        picture = await asked(app, "GET", "/Counter/a/add", b"1", origin=None, **headers)
        assert (other.status, picture.status) == (403, 403)
        assert (await app.state("Counter", "a")).texts == {"count": "1"}
        assert (await asked(app, "GET", "/restate/health", b"", **headers)).status == 200
        assert (await asked(app, "GET", "/openapi.json", b"", origin=None, **headers)).status == 200

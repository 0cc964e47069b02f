"""An App inside a FastAPI or Starlette application: started and mounted by the host, with the usual answers to its errors.

Promise: the app runs before the host's own start-up begins, and until the host's own shutdown has ended.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from actors.errors import DefinitionError, TerminalError
from actors.storage.errors import ActorsError
from actors.transport.http.replies import error_reply
from actors.transport.served import App

log = logging.getLogger("actors.http")


def mount(api: Starlette, app: App, prefix: str | None = "/actors") -> None:
    """Let `api` start and close `app`, serve it below `prefix`, and answer the errors that its calls raise in routes.

    A TerminalError that no route catches is answered with its code, in the usual JSON; overload with 429 and Retry-After; an
    app or a database that is not available at present with 503. With `prefix=None` no handlers are served. Call this once,
    before the application starts. Raises DefinitionError.
    """
    if not isinstance(api, Starlette):
        raise DefinitionError(f"mount(api, app) requires a FastAPI or Starlette application first, got {api!r}.")
    if not isinstance(app, App):
        raise DefinitionError(f"mount(api, app) requires an App, got {app!r}.")
    if prefix is not None and not (isinstance(prefix, str) and prefix.startswith("/") and not prefix.endswith("/")):
        raise DefinitionError(
            f"prefix={prefix!r} is not a valid prefix. It must begin with a slash and not end with one: '/actors'."
        )
    own = api.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(host: Any) -> AsyncIterator[Any]:
        async with app, own(host) as state:
            yield state

    api.router.lifespan_context = lifespan
    api.add_exception_handler(ActorsError, answer)
    if prefix is not None:
        api.mount(prefix, app)


async def answer(request: Request, error: Exception) -> Response:
    """The answer to an error of this package, as a call over HTTP would get it. No internals are shown."""
    reply = error_reply(error, "invocation")
    if reply.status == 500 and not isinstance(error, TerminalError):
        log.error("%s %s was answered with 500", request.method, request.url.path, exc_info=error)
    response = Response(reply.body, reply.status)
    response.raw_headers.extend(reply.headers)
    return response

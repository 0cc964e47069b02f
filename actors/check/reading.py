"""Reads the past of an object from a file, in one transaction, and fills in what its code can tell."""

from __future__ import annotations

from collections.abc import Callable

from actors.app.app import App
from actors.check.executed import Executing, callees_of
from actors.check.forgetting import complete, gap_before_ms
from actors.check.past import Past, past_of
from actors.check.rehearsal import Stage
from actors.check.retrace import Retraces
from actors.journal.ids import IdMint
from actors.storage.records import InvocationRow
from actors.storage.sqlite.reads import SqliteReads

TIMEOUT_S = 5.0


async def read_past(
    reads: SqliteReads,
    service: str,
    key: str,
    app: App | None = None,
    *,
    watch: Callable[[InvocationRow | None], None] = lambda row: None,
) -> Past:
    """The past of an object, as it is recorded; with `app`, also as its code tells. An object that was never used has none.

    The replay of an invocation that awaits what is not durable ends after TIMEOUT_S.
    `watch` is called with each invocation before its code runs, and with None after it. Raises StorageError.
    """
    options = app.engine_options() if app is not None else None
    async with reads.at_once():
        secret = await reads.secret()
        kept = await reads.kept_object(service, key)
        begun = False
        if app is not None and options is not None:
            begun = await complete(reads, options.limits)
            kept.oldest_ms = await gap_before_ms(reads, options.limits, app._life.options.clock.now_ms())
        past = past_of(kept, service, key, IdMint(secret), begun)
        called = await reads.invocations(callees_of(past)) if options is not None else {}
    definition = options.catalog.services.get(service) if options is not None else None
    if options is not None and definition is not None:
        stage = Stage(options.catalog, options.limits, secret)
        retraces = Retraces(stage, TIMEOUT_S, watch)
        try:
            await Executing(stage, definition, past, called, retraces).run()
        finally:
            retraces.close()
    return past

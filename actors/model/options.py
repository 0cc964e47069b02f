"""The options of a message, which travel with it beside its arguments."""

from __future__ import annotations

from actors.errors import BadArguments
from actors.model.cron import TICK
from actors.serde.type_names import shortened


class Options:
    """The options of a message."""

    __slots__ = ("delay_ms", "fail_when_full", "headers", "idempotency_key")

    def __init__(
        self,
        delay_ms: int = 0,
        headers: dict[str, str] | None = None,
        idempotency_key: str | None = None,
        fail_when_full: bool = False,
    ) -> None:
        self.delay_ms = delay_ms
        self.headers = headers
        self.idempotency_key = idempotency_key
        self.fail_when_full = fail_when_full


DEFAULT_OPTIONS = Options()


def checked_headers(headers: dict[str, str]) -> dict[str, str]:
    """A copy of `headers`. Raises BadArguments unless they are a dict of str to str that UTF-8 can encode."""
    if not isinstance(headers, dict) or not all(type(k) is str and type(v) is str for k, v in headers.items()):
        raise BadArguments("headers= requires a dict of str to str.")
    try:
        "".join([*headers, *headers.values()]).encode()
    except UnicodeEncodeError as error:
        raise BadArguments(f"headers= holds text that is not valid Unicode: {error}.") from None
    return dict(headers)


def checked_idempotency_key(key: str) -> str:
    """`key`, if it is a valid idempotency key. Raises BadArguments."""
    if type(key) is str and 0 < len(key) <= 1000:
        if key.startswith(TICK):  # an invocation under such a key would keep a schedule from placing its tick
            raise BadArguments(f"idempotency_key={shortened(key)}: keys that begin with {TICK!r} belong to schedules.")
        try:
            key.encode()
            return key
        except UnicodeEncodeError:
            pass
    raise BadArguments(
        f"idempotency_key= requires a str of 1 to 1,000 characters of Unicode text, got {shortened(key)}."
    )

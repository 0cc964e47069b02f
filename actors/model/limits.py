"""The limits of an app, in memory and on disk, and for requests: each has a name, a default and a clear error."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from actors.errors import BadArguments, DefinitionError
from actors.model.durations import milliseconds
from actors.model.spelling import check_options

Duration = float | timedelta


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one app. Times are seconds or timedeltas; None, where it is allowed, means no limit.

    In memory: `max_objects` idle objects, `max_waiting` handlers that wait, each for `suspend_after` at most, the next
    `max_timers` timers; all others are on disk and are loaded when they are needed.

    Refused: a message for an object with `max_pending` waiting messages (MailboxFull), a call from outside while `max_in_flight`
    invocations are in memory (Overloaded), arguments, results and state values of more than `max_payload` characters
    (PayloadTooLarge), steps of an invocation beyond `max_journal` entries or `max_journal_bytes` bytes of names and values
    (JournalTooLong), a key of more than `max_key` characters (BadKey), headers of more than `max_stored_headers` bytes
    (PayloadTooLarge), and a reason for a rejection of more than `max_failure` characters (PayloadTooLarge). The message and the
    metadata of a failure are cut at `max_failure`, and say so.

    Waited for: a step that still runs in a thread when its invocation has ended. The next invocation of the object starts after
    that step, or, after `step_grace`, beside the step and with a warning.

    Kept: ended invocations for `retention`, at most the newest `max_retained`; invocations with an idempotency key, and runs of
    workflows with their state and promises, for `idempotency_retention`, however many there are.
    """

    max_objects: int = 100_000
    max_waiting: int = 10_000
    suspend_after: Duration = 60.0
    max_timers: int = 30_000
    max_pending: int = 10_000
    max_in_flight: int = 100_000
    step_grace: Duration = 60.0
    max_payload: int = 32 * 1024 * 1024
    max_journal: int = 100_000
    max_journal_bytes: int = 256 * 1024 * 1024
    max_key: int = 16_384
    max_stored_headers: int = 65_536
    max_failure: int = 65_536
    retention: Duration | None = 86_400.0
    max_retained: int | None = 1_000_000
    idempotency_retention: Duration | None = 86_400.0

    if not TYPE_CHECKING:

        def __new__(cls, *positional: Any, **given: Any) -> Any:
            check_options(cls, positional, given)
            return object.__new__(cls)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name in ("retention", "max_retained", "idempotency_retention"):
                continue
            if field.name.startswith("max_"):
                if type(value) is not int or value < 1:
                    raise DefinitionError(f"Limits: {field.name}={value!r}. It must be an int of at least 1.")
            else:
                self._ms(field.name)

    def _ms(self, name: str) -> int:
        try:
            return milliseconds(getattr(self, name), name)
        except BadArguments as error:
            raise DefinitionError(f"Limits: {error.message}") from None

    @property
    def suspend_after_ms(self) -> int:
        return self._ms("suspend_after")

    @property
    def step_grace_ms(self) -> int:
        return self._ms("step_grace")

    @property
    def retention_ms(self) -> int | None:
        return None if self.retention is None else self._ms("retention")

    @property
    def idempotency_retention_ms(self) -> int | None:
        return None if self.idempotency_retention is None else self._ms("idempotency_retention")

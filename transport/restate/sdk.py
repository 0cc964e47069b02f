"""The machine of restate-sdk. The only module that imports it, and uses private names of it: see `missing`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from actors.errors import ActorsError
from actors.transport.restate.machine import (
    Cancelled,
    Completed,
    Execute,
    Failure,
    Headers,
    Input,
    Machine,
    MachineError,
    Progress,
    Retry,
    Run,
    Suspended,
    Value,
    Waiting,
)

# What this module uses of `restate._internal`, which restate-sdk does not promise to keep.
_NAMES = (
    "IdentityVerificationException", "PyDoProgressAnyCompleted", "PyDoProgressCancelSignalReceived", "PyDoProgressExecuteRun",
    "PyDoProgressWaitExternalProgress", "PyExponentialRetryConfig", "PyFailure", "PyHeader", "PyIdentityVerifier", "PyStateKeys",
    "PySuspended", "PyUnresolvedFuture", "PyVM", "PyVoid", "VMException",
)  # fmt: skip
_METHODS = (
    "attach_invocation", "do_progress", "get_response_head", "is_completed", "is_ready_to_execute", "is_replaying", "notify_error",
    "notify_input", "notify_input_closed", "propose_run_completion_failure", "propose_run_completion_failure_transient",
    "propose_run_completion_success", "sys_awakeable", "sys_call", "sys_cancel", "sys_clear_state",
    "sys_complete_awakeable_failure", "sys_complete_awakeable_success", "sys_complete_promise_failure",
    "sys_complete_promise_success", "sys_end", "sys_get_promise", "sys_get_state", "sys_get_state_keys", "sys_input",
    "sys_peek_promise", "sys_run", "sys_send", "sys_set_state", "sys_sleep", "sys_write_output_failure",
    "sys_write_output_success", "take_notification", "take_output",
)  # fmt: skip


def missing(module: Any) -> list[str]:
    """The names that this module requires of `restate._internal` and does not find there."""
    names = [name for name in _NAMES if not hasattr(module, name)]
    machine = getattr(module, "PyVM", None)
    names += [f"PyVM.{name}" for name in _METHODS if machine is not None and not hasattr(machine, name)]
    futures = getattr(module, "PyUnresolvedFuture", None)
    names += [
        f"PyUnresolvedFuture.{name}"
        for name in ("first_completed", "single")
        if futures is not None and not hasattr(futures, name)
    ]
    return names


class Sdk:
    """restate-sdk as it is installed. Raises ActorsError if it is missing, or is not a supported release."""

    def __init__(self) -> None:
        try:
            from restate import _internal
        except ModuleNotFoundError as error:
            if error.name != "restate":
                raise
            raise ActorsError(
                "The endpoint requires restate-sdk. Install it: pip install 'virtual-actors[restate]'"
            ) from None
        gone = missing(_internal)
        if gone:
            raise ActorsError(
                f"restate-sdk {getattr(_internal, 'SDK_VERSION', '')} is not supported by this release: {', '.join(gone)} "
                "is missing. Install restate-sdk>=1.0.1,<2."
            )
        self._internal: Any = _internal
        self.version: str = _internal.SDK_VERSION

    def machine(self, headers: Headers) -> Machine:
        """A machine for a request with these headers. Raises MachineError if it speaks no protocol that the request names."""
        try:
            return SdkMachine(self._internal, self._internal.PyVM(list(headers)))
        except self._internal.VMException as error:
            raise MachineError(str(error)) from None

    def verifier(self, keys: Sequence[str]) -> Verifier:
        """Checks that requests are signed by one of these keys (`publickeyv1_…`). Raises ActorsError for an invalid key."""
        try:
            return Verifier(self._internal, self._internal.PyIdentityVerifier(list(keys)))
        except Exception as error:  # of a class that is not in all supported releases
            raise ActorsError(
                f"{', '.join(keys)} is not a valid identity key: {error}. Use publickeyv1_..., as the server prints it."
            ) from None


class Verifier:
    def __init__(self, internal: Any, verifier: Any) -> None:
        self._refused = internal.IdentityVerificationException
        self._verifier = verifier

    def accepts(self, headers: Headers, path: str) -> bool:
        try:
            self._verifier.verify(list(headers), path)
        except self._refused:
            return False
        return True


class SdkMachine:
    """`Machine`, by the Rust core that all of Restate's SDKs share."""

    __slots__ = ("_error", "_sdk", "_vm")

    def __init__(self, internal: Any, vm: Any) -> None:
        self._sdk = internal
        self._error: type[Exception] = internal.VMException
        self._vm = vm

    def _do(self, method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except self._error as error:
            raise MachineError(str(error)) from None

    def response_head(self) -> tuple[int, Headers]:
        head = self._vm.get_response_head()
        return head.status_code, list(head.headers)

    def add_input(self, data: bytes) -> None:
        self._do(self._vm.notify_input, data)

    def end_input(self) -> None:
        self._do(self._vm.notify_input_closed)

    def take_output(self) -> bytes:
        output = self._vm.take_output()
        return bytes(output) if output else b""

    def ready(self) -> bool:
        return bool(self._do(self._vm.is_ready_to_execute))

    def replaying(self) -> bool:
        return bool(self._vm.is_replaying())

    def input(self) -> Input:
        given = self._do(self._vm.sys_input)
        headers = [(header.key, header.value) for header in given.headers]
        return Input(given.invocation_id, given.key or "", headers, bytes(given.input), given.random_seed)

    def completed(self, handle: int) -> bool:
        return bool(self._vm.is_completed(handle))

    def take(self, handle: int) -> Value:
        value = self._do(self._vm.take_notification, handle)
        if type(value) is bytes:
            return value
        if isinstance(value, self._sdk.PyFailure):
            return Failure(value.code, value.message, tuple(tuple(pair) for pair in value.metadata or ()))
        if isinstance(value, self._sdk.PyStateKeys):
            return list(value.keys)
        if isinstance(value, str):
            return value
        return None if value is None or isinstance(value, self._sdk.PyVoid) else bytes(value)

    def progress(self, handles: Iterable[int]) -> Progress:
        sdk = self._sdk
        singles = [sdk.PyUnresolvedFuture.single(handle) for handle in handles]
        awaited = singles[0] if len(singles) == 1 else sdk.PyUnresolvedFuture.first_completed(singles)
        result = self._do(self._vm.do_progress, awaited)
        kind = type(result)
        if kind is sdk.PyDoProgressAnyCompleted:
            return Completed()
        if kind is sdk.PyDoProgressWaitExternalProgress:
            return Waiting()
        if kind is sdk.PyDoProgressExecuteRun:
            return Execute(result.handle)
        if kind is sdk.PyDoProgressCancelSignalReceived:
            return Cancelled()
        return Suspended()

    def fail_attempt(self, message: str, stacktrace: str) -> None:
        self._vm.notify_error(message, stacktrace)

    # --- commands -------------------------------------------------------------------------------------------------------

    def get_state(self, name: str) -> int:
        return int(self._do(self._vm.sys_get_state, name))

    def get_state_names(self) -> int:
        return int(self._do(self._vm.sys_get_state_keys))

    def set_state(self, name: str, value: bytes) -> None:
        self._do(self._vm.sys_set_state, name, value)

    def clear_state(self, name: str) -> None:
        self._do(self._vm.sys_clear_state, name)

    def sleep(self, duration_ms: int, name: str) -> int:
        return int(self._do(self._vm.sys_sleep, duration_ms, name))

    def run(self, name: str) -> Run:
        run = self._do(self._vm.sys_run, name)
        return Run(run.handle, run.replayed)

    def propose(self, handle: int, result: bytes | Failure) -> None:
        if isinstance(result, Failure):
            self._do(self._vm.propose_run_completion_failure, handle, self._failure(result))
        else:
            self._do(self._vm.propose_run_completion_success, handle, result)

    def propose_retry(self, handle: int, failure: Failure, took_ms: int, retry: Retry | None) -> None:
        config = self._sdk.PyExponentialRetryConfig
        policy = (
            config()
            if retry is None
            else config(
                retry.initial_ms, retry.max_attempts, retry.max_duration_ms, retry.max_interval_ms, retry.factor
            )
        )
        self._do(self._vm.propose_run_completion_failure_transient, handle, self._failure(failure), took_ms, policy)

    def awakeable(self) -> tuple[str, int]:
        id, handle = self._do(self._vm.sys_awakeable)
        return id, handle

    def complete_awakeable(self, id: str, result: bytes | Failure) -> None:
        if isinstance(result, Failure):
            self._do(self._vm.sys_complete_awakeable_failure, id, self._failure(result))
        else:
            self._do(self._vm.sys_complete_awakeable_success, id, result)

    def call(
        self, service: str, handler: str, key: str, body: bytes, idempotency_key: str | None, headers: Headers
    ) -> int:
        begun = self._do(
            self._vm.sys_call, service, handler, body, key or None, idempotency_key, self._headers(headers)
        )
        return int(begun.result_handle)

    def send(
        self,
        service: str,
        handler: str,
        key: str,
        body: bytes,
        delay_ms: int,
        idempotency_key: str | None,
        headers: Headers,
    ) -> int:
        return int(
            self._do(
                self._vm.sys_send,
                service,
                handler,
                body,
                key or None,
                delay_ms or None,
                idempotency_key,
                self._headers(headers),
            )
        )

    def attach(self, invocation_id: str) -> int:
        return int(self._do(self._vm.attach_invocation, invocation_id))

    def cancel(self, invocation_id: str) -> None:
        self._do(self._vm.sys_cancel, invocation_id)

    def get_promise(self, name: str) -> int:
        return int(self._do(self._vm.sys_get_promise, name))

    def peek_promise(self, name: str) -> int:
        return int(self._do(self._vm.sys_peek_promise, name))

    def complete_promise(self, name: str, result: bytes | Failure) -> int:
        if isinstance(result, Failure):
            return int(self._do(self._vm.sys_complete_promise_failure, name, self._failure(result)))
        return int(self._do(self._vm.sys_complete_promise_success, name, result))

    def finish(self, result: bytes | Failure) -> None:
        if isinstance(result, Failure):
            self._do(self._vm.sys_write_output_failure, self._failure(result))
        else:
            self._do(self._vm.sys_write_output_success, result)
        self._do(self._vm.sys_end)

    def _failure(self, failure: Failure) -> Any:
        return self._sdk.PyFailure(failure.code, failure.message, failure.stacktrace, list(failure.metadata) or None)

    def _headers(self, headers: Headers) -> list[Any]:
        return [self._sdk.PyHeader(name, value) for name, value in headers]

"""Requests of a context that every engine refuses, with the same words."""

from __future__ import annotations

from actors.errors import MisusedFuture, PayloadTooLarge


def context_is_over() -> MisusedFuture:
    return MisusedFuture(
        "This context belongs to an invocation that is over, or has begun another attempt. A context is valid in "
        "the handler it was handed to, until that ends."
    )


def context_of_another() -> MisusedFuture:
    return MisusedFuture(
        "This context belongs to another invocation. A context is valid in the handler it was handed to: use the one "
        "of this handler."
    )


def context_in_step() -> MisusedFuture:
    return MisusedFuture(
        "The context was used inside a step. A step is done once, so a replay would not repeat the "
        "request: call ctx in the handler, before or after the step."
    )


def cancelled_by_timer() -> MisusedFuture:
    return MisusedFuture(
        "A timeout of asyncio or anyio tried to cancel a durable wait, at a moment that no replay could repeat. Use "
        "ctx.timeout(future, seconds) instead."
    )


def too_large(value: str | bytes, what: str, longest: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"{what} takes {len(value):,} characters; max_payload of the app allows {longest:,}. Store large data elsewhere and "
        "record a reference to it."
    )

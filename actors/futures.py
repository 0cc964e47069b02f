"""The types of what a handler awaits, for annotations: the public path of what `actors.model` holds."""

from actors.model.calls import Awaited, AwaitedOutside, Call, ForgottenAwait
from actors.model.futures import Awakeable, DurableFuture
from actors.model.promise import DurablePromise

__all__ = ["Awaited", "AwaitedOutside", "Awakeable", "Call", "DurableFuture", "DurablePromise", "ForgottenAwait"]

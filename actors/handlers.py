"""The types of handlers and of the messages sent to them, for annotations: the public path of what `actors.model` holds."""

from actors.model.bound_handler import BoundHandler, Dispatcher
from actors.model.calls import InvocationHandle
from actors.model.definitions import HandlerDefinition
from actors.model.handlers import Handler, HandlerDecorator, handler, shared
from actors.model.options import Options

__all__ = [
    "BoundHandler",
    "Dispatcher",
    "Handler",
    "HandlerDecorator",
    "HandlerDefinition",
    "InvocationHandle",
    "Options",
    "handler",
    "shared",
]

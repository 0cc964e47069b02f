"""How `actors serve` sets up the logging module.

Promise: not at all without an option. The logging that the served module sets up, while it is imported or later, works as
under any other server. Without such logging Python's last resort prints warnings; here with time, level and logger.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

from actors.logs import InvocationFilter, JsonFormatter

LEVELS = ("debug", "info", "warning", "error", "critical")
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`level` is one of LEVELS, or None; `json` logs lines of JSON; `access` logs a line for each request."""

    level: str | None = None
    json: bool = False
    access: bool = False

    def before_import(self) -> None:
        """Replace the last resort of the logging module, which is used only while no handler is set up."""
        resort = self._handler()
        resort.setLevel(logging.WARNING)
        logging.lastResort = resort

    def after_import(self) -> None:
        """Apply the options, which take precedence over the module's own logging."""
        root = logging.getLogger()
        if self.json:
            if not root.handlers:
                root.setLevel(logging.INFO)
            # The module's log files stay; the terminal gets lines of JSON only.
            root.handlers = [own for own in root.handlers if not _is_terminal(own)] + [self._handler()]
        elif self.level is not None and not root.handlers:
            root.addHandler(self._handler())
        if self.level is not None:
            root.setLevel(self.level.upper())
        if self.access:
            logger = logging.getLogger("actors.access")
            logger.setLevel(logging.INFO)
            if not logger.hasHandlers():
                logger.addHandler(self._handler())

    def _handler(self) -> logging.Handler:
        handler = logging.StreamHandler()
        handler.addFilter(InvocationFilter())
        handler.setFormatter(JsonFormatter() if self.json else logging.Formatter(_LINE))
        return handler


def _is_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr)

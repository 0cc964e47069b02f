"""What the server process of the suite serves: the services on the file, and with the limits, that its environment names."""

from __future__ import annotations

import os

from actors import Limits
from tests.conformance.services import app_on

# Memory for no handler that waits: it leaves at once, and each await that is not answered by then is met by a replay.
# Only while a step of its own runs does it stay, because that result comes from this process.
LIMITS = {
    "default": Limits(),
    "crash": Limits(),
    "always-replay": Limits(suspend_after=0, max_waiting=1, max_objects=1),
    "short-retention": Limits(idempotency_retention=0.2),
}

app = app_on(os.environ["CONFORMANCE_STORAGE"], limits=LIMITS[os.environ["CONFORMANCE_MODE"]])

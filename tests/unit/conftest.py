"""Settings of the property tests in this folder."""

from __future__ import annotations

import os

from hypothesis import settings

# A busy machine must not fail a test: pytest's own timeout is limit enough.
settings.register_profile("unit", deadline=None, max_examples=int(os.environ["SIMULATIONS"]))
settings.load_profile("unit")

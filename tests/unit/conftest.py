"""Settings of the property tests in this folder."""

from __future__ import annotations

from hypothesis import settings

# A busy machine must not fail a test: pytest's own timeout is limit enough.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")

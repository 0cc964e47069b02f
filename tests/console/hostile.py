"""A text that a page must show and nothing else."""

from __future__ import annotations

HOSTILE = "<img src=x onerror=alert(1)>\u202e\x00 javascript:alert(1) \"'`${7*7}`</script><script>alert(1)</script>"
KEY = HOSTILE.replace("\x00", "")  # a key has no NUL

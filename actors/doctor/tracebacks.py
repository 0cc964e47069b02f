"""Which line of a traceback says what went wrong. Pure."""

from __future__ import annotations


def error_line(text: str) -> str:
    """The error of a traceback. What was added to it follows on further lines, so the first unindented one behind the frames."""
    lines = text.splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  ")]
    after = lines[frames[-1] + 1 :] if frames else lines[-1:]
    return after[0] if after else (lines[-1].strip() if lines else "")

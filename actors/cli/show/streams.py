"""Output to a terminal or pipe without UTF-8: a code page of Windows, PYTHONIOENCODING, LANG.

Promise: printing never fails. A character that the encoding lacks is written as \\uXXXX, as in JSON.
"""

from __future__ import annotations

import codecs
import os
import sys

_ESCAPE = "actors-escape"
_ASCII = "actors-ascii"


def set_up_streams() -> None:
    """Let stdout and stderr print any character. To be called at the start of a program."""
    codecs.register_error(_ESCAPE, _escaped)
    codecs.register(_ascii)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is None:  # there is no such stream, or it was replaced
            continue
        # click assumes that ASCII is a wrong setting and writes UTF-8, even into a pipe whose reader expects ASCII.
        is_ascii = codecs.lookup(stream.encoding).name == "ascii"
        reconfigure(encoding=_ASCII if is_ascii else None, errors=_ESCAPE)


def typed(argument: str) -> str:
    """The argument as typed: decoded again as UTF-8 if Python decoded it in another encoding than the terminal's."""
    try:
        return argument if argument.isascii() else os.fsencode(argument).decode()
    except UnicodeError:
        return argument


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    units = (text[place : place + 2] for place in range(0, len(text), 2))
    return "".join(f"\\u{int.from_bytes(unit, 'big'):04x}" for unit in units), error.end


def _ascii(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != _ASCII:
        return None
    plain = codecs.lookup("ascii")
    return codecs.CodecInfo(
        name=_ASCII,
        encode=plain.encode,
        decode=plain.decode,
        incrementalencoder=plain.incrementalencoder,
        incrementaldecoder=plain.incrementaldecoder,
        streamreader=plain.streamreader,
        streamwriter=plain.streamwriter,
    )

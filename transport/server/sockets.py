"""The sockets a server listens on. They are bound before the database is opened, so a taken port fails early."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys


class CannotListen(Exception):
    """The address cannot be used. The message says what to type instead."""


def bound(host: str, port: int) -> list[socket.socket]:
    """One socket for each address of the host; with port 0 only for the first address. Raises CannotListen."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CannotListen(
            f"{host!r} is not a valid address: {error}. Use --host 127.0.0.1 for this machine only."
        ) from None
    taken: list[socket.socket] = []
    missing: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found[:1] if port == 0 else found):
        try:
            listening = socket.socket(family, kind, protocol)
        except OSError as error:  # IPv6 is switched off
            missing = error
            continue
        try:
            if sys.platform != "win32":  # where this option would let two programs share a port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
        except OSError as error:
            listening.close()
            missing = error
            if error.errno != errno.EADDRNOTAVAIL:
                break
        else:
            taken.append(listening)
            missing = None if missing is not None and missing.errno == errno.EADDRNOTAVAIL else missing
    if missing is not None and (not taken or missing.errno != errno.EADDRNOTAVAIL):
        for listening in taken:
            listening.close()
        raise CannotListen(_refused(missing, host, port))
    return taken


def _refused(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use. Stop the program that listens there, or choose another port: --port {port + 1}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} requires privileges that this user does not have. Use a port from 1024: --port 8080"
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"{host} is not an address of this machine. Use --host 127.0.0.1 for this machine only, 0.0.0.0 for "
            "all of its addresses."
        )
    return f"Port {port} of {host} cannot be used: {error.strerror or error}"


def bound_to_path(path: str) -> socket.socket:
    """A Unix socket. A socket file left by a killed process is replaced. Raises CannotListen."""
    if not hasattr(socket, "AF_UNIX"):
        raise CannotListen("This system has no Unix sockets. Use --host and --port.")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listening.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_dead(path)
            listening.bind(path)
    except OSError as error:
        listening.close()
        raise CannotListen(f"Cannot create a socket at {path}: {error.strerror or error}.") from None
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_dead(path: str) -> None:
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        raise CannotListen(f"{path} exists and is not a socket. Remove it, or choose another path.")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as client:
        try:
            client.connect(path)
        except ConnectionRefusedError:  # its owner has died
            os.unlink(path)
            return
    raise CannotListen(f"A process listens at {path}. Stop it, or choose another path.")

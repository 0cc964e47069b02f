"""The world outside of the app, as far as the classes of the corpus deal with it: a bank, the mail, people.

It outlives processes, as the real one does, and a test begins with a new one.
"""

from __future__ import annotations

from collections.abc import Callable

charges: list[tuple[str, int]] = []  # of the bank: who was charged how many cents
mails: list[str] = []
_by_key: dict[str, str] = {}
_to_forget: list[Callable[[], None]] = []


def renew() -> None:
    """Begin with an empty bank, no mail, and a process that remembers nothing."""
    charges.clear()
    mails.clear()
    _by_key.clear()
    for forget in _to_forget:
        forget()


def forgets(forget: Callable[[], None]) -> None:
    """Call `forget` at the beginning of each test: for classes that keep something in the memory of the process."""
    _to_forget.append(forget)


def charge(who: str, cents: int, key: str | None = None) -> str:
    """Charge an account, once for each key if there is one, as banks do."""
    if key is not None and key in _by_key:
        return _by_key[key]
    charges.append((who, cents))
    receipt = f"receipt {len(charges)}"
    if key is not None:
        _by_key[key] = receipt
    return receipt


def refund(who: str, cents: int, key: str) -> None:
    """Undo the charge of a key, if there was one."""
    if _by_key.pop(key, None) is not None:
        charges.remove((who, cents))


def mail(text: str, key: str | None = None) -> None:
    """Send a mail, once for each key if there is one."""
    if key is None or key not in _by_key:
        mails.append(text)
        if key is not None:
            _by_key[key] = text

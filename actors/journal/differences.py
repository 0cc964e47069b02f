"""The difference between two versions of a text: a long text that grows a little is recorded by the added part. Pure.

Promise: `difference(old, new)` leads from `old` to `new` and back, exactly, for any two texts. It works on plain text and does
not parse JSON, so it serves all types, also future types. Where parts were inserted, removed or replaced at some places, a
difference is about as long as the change; where the texts have nothing in common, it holds both texts.

The journal records the fingerprints of both texts with a difference, so that it is never applied to another text.
"""

from __future__ import annotations

import hashlib

import msgspec

Hunk = tuple[int, str, str]  # a place in the old text, what was removed there, what was inserted

SHORT = 64  # characters: a part that is not longer is replaced as a whole
_BLOCK = 48  # characters that must be equal for two places to match
_REACH = 4096  # how far from the likely place a match is looked for
_PROBES = (1 / 2, 1 / 4, 3 / 4, 1 / 8, 7 / 8)  # the places in the old part for which a match is looked for

_hunks_of = msgspec.json.Decoder(list[Hunk])


class DifferentText(ValueError):
    """A difference was applied to a text that it was not made from."""


def fingerprint(text: str) -> str:
    """The first 96 bits of the SHA-256 of the text, as hex digits: different for any two texts."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Fingerprint:
    """The fingerprint of a text that changes near its end: the beginning is not hashed again."""

    __slots__ = ("_hashed", "_known", "text")

    _TAIL = 64  # characters at the end that are hashed anew each time: in JSON, brackets close after an addition

    def __init__(self, text: str) -> None:
        self._start_anew(text)

    def _start_anew(self, text: str) -> None:
        self.text = text
        self._known = max(0, len(text) - self._TAIL)
        self._hashed = hashlib.sha256(text[: self._known].encode())

    def changed(self, text: str, same: int) -> None:
        """The text is now `text`. Its first `same` characters have not changed."""
        if same < self._known:
            self._start_anew(text)
            return
        known = max(self._known, len(text) - self._TAIL)
        self._hashed.update(text[self._known : known].encode())
        self.text, self._known = text, known

    def value(self) -> str:
        """The `fingerprint` of the current text."""
        whole = self._hashed.copy()
        whole.update(self.text[self._known :].encode())
        return whole.hexdigest()[:24]


def unchanged_before(difference: str) -> int:
    """How many characters both texts have in common before the first change."""
    return int(difference[2 : difference.index(",")]) if difference != "[]" else 0


def difference(old: str, new: str, most: int) -> str | None:
    """The difference as JSON, for `redone` and `undone`: `[[place, removed, inserted], ...]`. None if longer than `most`."""
    hunks = _hunks(old, new, most)
    text = msgspec.json.encode(hunks).decode() if hunks is not None else ""
    return text if hunks is not None and len(text) <= most else None


def redone(old: str, recorded: str) -> str:
    """The new text. Raises DifferentText if `old` cannot be the old text of this difference."""
    return _applied(old, _hunks_of.decode(recorded))


def undone(new: str, recorded: str) -> str:
    """The old text. Raises DifferentText if `new` cannot be the new text of this difference."""
    shift = 0
    back: list[Hunk] = []
    for place, removed, inserted in _hunks_of.decode(recorded):
        back.append((place + shift, inserted, removed))
        shift += len(inserted) - len(removed)
    return _applied(new, back)


def _applied(text: str, hunks: list[Hunk]) -> str:
    """`text` with all hunks replaced. Raises DifferentText if `text` lacks a removed part at its place."""
    parts: list[str] = []
    end = 0
    for place, removed, inserted in hunks:
        if place < end or not text.startswith(removed, place):
            raise DifferentText("this difference was made from another text")
        parts += text[end:place], inserted
        end = place + len(removed)
    parts.append(text[end:])
    return "".join(parts)


def _hunks(old: str, new: str, most: int) -> list[Hunk] | None:
    """The hunks from `old` to `new`, in order. None if they hold more than `most` characters."""
    hunks: list[Hunk] = []
    waiting = [(0, len(old), 0, len(new))]  # pairs of parts, from the last to the first
    while waiting:
        start, end, new_start, new_end = waiting.pop()
        same = _same_from(old, new, start, new_start, min(end - start, new_end - new_start))
        start, new_start = start + same, new_start + same
        same = _same_to(old, new, end, new_end, min(end - start, new_end - new_start))
        end, new_end = end - same, new_end - same
        if start == end and new_start == new_end:
            continue
        meeting = None
        if min(end - start, new_end - new_start) > SHORT:
            meeting = _meeting(old, new, start, end, new_start, new_end)
        if meeting is None:
            most -= end - start + new_end - new_start
            if most < 0:
                return None
            hunks.append((start, old[start:end], new[new_start:new_end]))
        else:
            place, new_place = meeting
            waiting += (place, end, new_place, new_end), (start, place, new_start, new_place)
    return hunks


def _meeting(old: str, new: str, start: int, end: int, new_start: int, new_end: int) -> tuple[int, int] | None:
    """A place in each part where the same block of characters begins.

    The search first tries the place that the block has if all changes come after it, then the place that it has if all
    changes come before it, then the places nearest to these two: in a list of equal items, any item would match anywhere.
    """
    size = end - start
    for share in _PROBES:
        place = start + int((size - _BLOCK) * share)
        block = old[place : place + _BLOCK]
        last = new_end - _BLOCK
        likely = [min(last, new_start + place - start), max(new_start, new_end - (end - place))]
        for new_place in likely:
            if new.startswith(block, new_place):
                return place, new_place
        for new_place in likely:
            behind = new.find(block, new_place, min(new_end, new_place + _REACH))
            before = new.rfind(block, max(new_start, new_place - _REACH), new_place + _BLOCK)
            nearer_before = before >= 0 and (behind < 0 or new_place - before < behind - new_place)
            near = before if nearer_before else behind
            if near >= 0:
                return place, near
    return None


def _same_from(old: str, new: str, start: int, new_start: int, most: int) -> int:
    """How many characters are equal from the two places on. Slices that grow, then shrink, let C do the comparing."""
    same, step = 0, 64
    if most > 4 * SHORT and new.startswith(old[start : start + most - SHORT], new_start):
        same = most - SHORT  # an addition at the end of a text changes nothing before it
    while same < most:
        size = min(step, most - same)
        if old[start + same : start + same + size] == new[new_start + same : new_start + same + size]:
            same += size
            step = min(step * 2, 1 << 16)
        elif size == 1:
            return same
        else:
            most = same + size  # the first difference is among these characters
            step = max(1, size // 2)
    return same


def _same_to(old: str, new: str, end: int, new_end: int, most: int) -> int:
    """How many characters are equal before the two places."""
    same, step = 0, 64
    while same < most:
        size = min(step, most - same)
        if old[end - same - size : end - same] == new[new_end - same - size : new_end - same]:
            same += size
            step = min(step * 2, 1 << 16)
        elif size == 1:
            return same
        else:
            most = same + size
            step = max(1, size // 2)
    return same

"""What one text has become, as the places that differ: a long text that grows a little is recorded by that little. Pure.

Promise: `difference(old, new)` leads from `old` to `new` and back, exactly, whatever the two are. It works on the text and knows
no JSON, so every type there is, and each that is to come, is served by the same few lines. It is as short as the change where
parts were inserted, removed or replaced at some places; where it finds nothing in common, it holds both texts.

A difference names the two texts by their fingerprints, so that it is never applied to another one.
"""

from __future__ import annotations

import hashlib

import msgspec

Hunk = tuple[int, str, str]  # a place in the old text, what was removed there, what was inserted

SHORT = 64  # characters: what is not longer is replaced as a whole
_BLOCK = 48  # what must be equal for two places to count as the same
_REACH = 4096  # how far apart the same is looked for
_PROBES = (1 / 2, 1 / 4, 3 / 4, 1 / 8, 7 / 8)  # where, in a text without a common beginning or end, it is looked for

_hunks_of = msgspec.json.Decoder(list[Hunk])


class DifferentText(ValueError):
    """A difference was applied to a text that it does not belong to."""


def fingerprint(text: str) -> str:
    """96 bits that no two texts share."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Fingerprint:
    """That of a text which changes near its end: what comes before is not hashed again."""

    __slots__ = ("_hashed", "_known", "text")

    _TAIL = 64  # characters that are not hashed for good: in JSON something always closes behind what is added

    def __init__(self, text: str) -> None:
        self._start_anew(text)

    def _start_anew(self, text: str) -> None:
        self.text = text
        self._known = max(0, len(text) - self._TAIL)
        self._hashed = hashlib.sha256(text[: self._known].encode())

    def changed(self, text: str, same: int) -> None:
        """It is `text` now. The first `same` characters are as they were."""
        if same < self._known:
            self._start_anew(text)
            return
        known = max(self._known, len(text) - self._TAIL)
        self._hashed.update(text[self._known : known].encode())
        self.text, self._known = text, known

    def value(self) -> str:
        """`fingerprint` of the text."""
        whole = self._hashed.copy()
        whole.update(self.text[self._known :].encode())
        return whole.hexdigest()[:24]


def unchanged_before(difference: str) -> int:
    """How many characters of both texts come before what has changed."""
    return int(difference[2 : difference.index(",")]) if difference != "[]" else 0


def difference(old: str, new: str, most: int) -> str | None:
    """JSON text that `redone` and `undone` take: `[[place, removed, inserted], ...]`. None if it would take more than `most`."""
    hunks = _hunks(old, new, most)
    text = msgspec.json.encode(hunks).decode() if hunks is not None else ""
    return text if hunks is not None and len(text) <= most else None


def redone(old: str, recorded: str) -> str:
    """The new text. Raises DifferentText if `old` cannot be the old one."""
    return _applied(old, _hunks_of.decode(recorded))


def undone(new: str, recorded: str) -> str:
    """The old text. Raises DifferentText if `new` cannot be the new one."""
    shift = 0
    back: list[Hunk] = []
    for place, removed, inserted in _hunks_of.decode(recorded):
        back.append((place + shift, inserted, removed))
        shift += len(inserted) - len(removed)
    return _applied(new, back)


def _applied(text: str, hunks: list[Hunk]) -> str:
    parts: list[str] = []
    end = 0
    for place, removed, inserted in hunks:
        if place < end or not text.startswith(removed, place):
            raise DifferentText("the text is not the one that this difference was made of")
        parts += text[end:place], inserted
        end = place + len(removed)
    parts.append(text[end:])
    return "".join(parts)


def _hunks(old: str, new: str, most: int) -> list[Hunk] | None:
    found: list[Hunk] = []
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
            found.append((start, old[start:end], new[new_start:new_end]))
        else:
            place, new_place = meeting
            waiting += (place, end, new_place, new_end), (start, place, new_start, new_place)
    return found


def _meeting(old: str, new: str, start: int, end: int, new_start: int, new_end: int) -> tuple[int, int] | None:
    """A place in each part from which on both are the same for a while.

    Looked for first where it would be if all that has changed lay behind it, then if it lay before it, then as near to these
    as possible: in a list of equal items each of them would be found anywhere.
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
    """How many characters are the same from there on. Compared in slices that grow, then shrink: C does the work."""
    same, step = 0, 64
    if most > 4 * SHORT and new.startswith(old[start : start + most - SHORT], new_start):
        same = most - SHORT  # what is added at the end of a text leaves all but that as it was
    while same < most:
        size = min(step, most - same)
        if old[start + same : start + same + size] == new[new_start + same : new_start + same + size]:
            same += size
            step = min(step * 2, 1 << 16)
        elif size == 1:
            return same
        else:
            most = same + size  # the first that differs is among these
            step = max(1, size // 2)
    return same


def _same_to(old: str, new: str, end: int, new_end: int, most: int) -> int:
    """The same, back from there."""
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

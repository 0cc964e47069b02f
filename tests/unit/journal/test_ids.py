"""Ids: they lead back to what they name, and nobody can make one, or change one into another."""

from __future__ import annotations

import base64
import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import BadId
from actors.journal.ids import IdMint

MINT = IdMint(bytes(range(32)))
OTHER = IdMint(bytes(range(1, 33)))
ALPHABET = string.ascii_letters + string.digits + "-_"
INVOCATION = MINT.invocation(123_456)
AWAKEABLE = MINT.awakeable(123_456, 7)
IDS = {"invocation": INVOCATION, "awakeable": AWAKEABLE}

seqs = st.integers(0, 2**64 - 1)
indexes = st.integers(0, 2**32 - 1)


def assert_refused(text: object) -> None:
    for reader in (MINT.read_invocation, MINT.read_awakeable):
        with pytest.raises(BadId) as caught:
            reader(text)  # type: ignore[arg-type]
        assert (caught.value.code, caught.value.error) == (400, "malformed_id")
        assert len(caught.value.message) < 250


@given(seqs, indexes, st.integers(0, 2**16 - 1), st.binary(min_size=32, max_size=32))
def test_an_id_leads_back_to_what_it_names(seq: int, index: int, partition: int, secret: bytes) -> None:
    mint = IdMint(secret, partition)
    assert mint.read_invocation(mint.invocation(seq)) == seq
    assert mint.read_awakeable(mint.awakeable(seq, index)) == (seq, index)


@given(seqs, indexes)
def test_an_id_is_stable_and_safe_in_a_url(seq: int, index: int) -> None:
    assert MINT.invocation(seq) == IdMint(bytes(range(32))).invocation(seq)
    for text, prefix in ((MINT.invocation(seq), "inv_1"), (MINT.awakeable(seq, index), "prom_1")):
        assert text.startswith(prefix)
        assert set(text) <= set(ALPHABET)


@pytest.mark.parametrize("kind", IDS)
def test_every_change_of_one_character_is_refused(kind: str) -> None:
    text = IDS[kind]
    for position in range(len(text)):
        for character in ALPHABET + "+/=.%é\x00 ":
            if character != text[position]:
                assert_refused(text[:position] + character + text[position + 1 :])


@pytest.mark.parametrize("kind", IDS)
def test_every_truncation_and_extension_is_refused(kind: str) -> None:
    text = IDS[kind]
    for length in range(len(text)):
        assert_refused(text[:length])
        assert_refused(text[length + 1 :])
    for more in ("A", "AA", "AAA", "AAAA", "=", "==", "\n", " ", "\x00", "%3D", text):
        assert_refused(text + more)
        assert_refused(more + text)


@pytest.mark.parametrize("kind", IDS)
def test_a_swap_of_two_characters_is_refused(kind: str) -> None:
    text = IDS[kind]
    for position in range(len(text) - 1):
        swapped = text[:position] + text[position + 1] + text[position] + text[position + 2 :]
        if swapped != text:
            assert_refused(swapped)


def test_the_other_spellings_of_base64_are_refused() -> None:
    seen = 0
    for seq in range(200):
        for text in (MINT.invocation(seq), MINT.awakeable(seq, 1)):
            prefix = text[: text.index("1") + 1]
            encoded = text[len(prefix) :]
            raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            for spelling in (
                base64.b64encode(raw).decode(),
                base64.urlsafe_b64encode(raw).decode(),
                base64.b64encode(raw).decode().rstrip("="),
                encoded[:4] + "\n" + encoded[4:],
                *(encoded[:-1] + last for last in ALPHABET),
            ):
                if spelling != encoded:
                    seen += 1
                    assert_refused(prefix + spelling)
    assert seen > 1000


def test_an_id_of_one_kind_is_not_one_of_the_other() -> None:
    with pytest.raises(BadId, match="an awakeable id"):
        MINT.read_awakeable(INVOCATION)
    with pytest.raises(BadId, match="an invocation id"):
        MINT.read_invocation(AWAKEABLE)
    assert_refused("prom_1" + INVOCATION.removeprefix("inv_1"))
    assert_refused("inv_1" + AWAKEABLE.removeprefix("prom_1"))


def test_an_id_of_another_file_or_partition_is_refused() -> None:
    assert_refused(OTHER.invocation(123_456))
    assert_refused(OTHER.awakeable(123_456, 7))
    assert_refused(IdMint(bytes(range(32)), partition=1).invocation(123_456))
    assert_refused(IdMint(bytes(range(32)), partition=1).awakeable(123_456, 7))


@pytest.mark.parametrize(
    "text", [None, 5, b"inv_1", b"prom_1AAAA", "", "inv_1", "prom_1", "inv_2", "\ud800", "x" * 10_000_000, []]
)
def test_what_is_no_id_is_refused(text: object) -> None:
    assert_refused(text)


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    assert_refused(text)
    assert_refused("inv_1" + text)
    assert_refused("prom_1" + text)


@given(st.binary(min_size=20, max_size=24))
def test_random_bytes_of_the_right_length_are_refused(raw: bytes) -> None:
    encoded = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    assert_refused("inv_1" + encoded)
    assert_refused("prom_1" + encoded)


def tag(text: str) -> bytes:
    encoded = text[text.index("1") + 1 :]
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))[-10:]


def test_the_secret_parts_show_no_structure() -> None:
    texts = [MINT.invocation(seq) for seq in range(3000)]
    texts += [MINT.awakeable(seq, index) for seq in range(60) for index in range(50)]
    tags = [tag(text) for text in texts]
    assert len(set(tags)) == len(tags)
    # No two differ by a constant, by XOR or by a difference, as they would if one could be computed from another.
    numbers = [int.from_bytes(t, "big") for t in tags]
    pairs = list(itertools.pairwise(numbers))
    assert len({a ^ b for a, b in pairs}) == len(pairs)
    assert len({(a - b) % 2**80 for a, b in pairs}) == len(pairs)
    # Each bit is set about as often as not, and changes with half of the steps: 6,000 draws stay within 5 deviations.
    for bit in range(80):
        ones = sum(number >> bit & 1 for number in numbers)
        flips = sum((a ^ b) >> bit & 1 for a, b in pairs)
        assert abs(ones - 3000) < 200 and abs(flips - 3000) < 200


def test_known_ids_do_not_help_to_make_another() -> None:
    known = [MINT.awakeable(seq, index) for seq in range(40) for index in range(1, 5)]
    bodies = [base64.urlsafe_b64decode(text.removeprefix("prom_1") + "==")[:14] for text in known]
    for body, text in zip(bodies, known, strict=True):
        for other in known:
            if other is not text:  # the right body with the secret part of any other id
                assert_refused("prom_1" + base64.urlsafe_b64encode(body + tag(other)).rstrip(b"=").decode())


def test_the_random_numbers_of_an_invocation_are_its_own_and_always_the_same() -> None:
    draws = {mint.random(seq).getrandbits(64) for mint in (MINT, OTHER) for seq in range(500)}
    assert len(draws) == 1000
    one, other = MINT.random(3), IdMint(bytes(range(32))).random(3)
    assert [one.random() for _ in range(10)] == [other.random() for _ in range(10)]

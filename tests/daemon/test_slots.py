"""Key slots, what opens them, and the recovery code."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from hashlib import blake2b

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nacl.exceptions import RuntimeError as OutOfMemory

from jarvis_secretsd.daemon.keys import (
    Argon2id,
    Blake2b,
    DataKey,
    Opener,
    Slot,
    SlotKind,
    new_master_key,
    new_recovery_code,
    new_slot,
    open_slots,
    openers,
)
from jarvis_secretsd.daemon.keys.recovery import format_recovery_code, parse_recovery_code
from jarvis_secretsd.errors import KeyRefused
from tests.daemon.vaults import CHEAP, MASTER, NOW, VAULT_ID, master

KEY = DataKey(bytes(range(1, 33)))
CODE = format_recovery_code(bytes(range(20)))
OPENERS: dict[SlotKind, Callable[[], Opener]] = {
    SlotKind.FILE: master,
    SlotKind.CREDENTIAL: lambda: Opener.from_key(MASTER[::-1], "cred", SlotKind.CREDENTIAL),
    SlotKind.PASSPHRASE: lambda: Opener.from_passphrase("correct horse"),
    SlotKind.RECOVERY: lambda: Opener.from_recovery_code(CODE),
}


def slot_for(kind: SlotKind) -> Slot:
    """A slot of that kind around KEY, at the least cost."""
    kdf = CHEAP if kind is SlotKind.PASSPHRASE else None
    return new_slot(VAULT_ID, KEY, OPENERS[kind](), NOW, kdf)


@pytest.mark.parametrize("kind", SlotKind)
def test_each_opener_opens_its_own_slot_among_all(kind: SlotKind) -> None:
    """With slots of all four kinds, what belongs to one of them gives the data key."""
    slots = [slot_for(other) for other in SlotKind]
    assert open_slots(VAULT_ID, slots, OPENERS[kind]()).reveal() == KEY.reveal()


def test_a_key_that_opens_nothing_is_told_which_slots_there_are() -> None:
    """The refusal names every slot, where the key came from and what to do, and shows no key."""
    slots = [slot_for(SlotKind.FILE), slot_for(SlotKind.RECOVERY)]
    wrong = Opener.from_key(b"\7" * 32, "/opt/jarvis/secrets/master.key")
    with pytest.raises(KeyRefused) as caught:
        open_slots(VAULT_ID, slots, wrong)
    text = str(caught.value)
    for slot in slots:
        assert f"{slot.kind} (2026-11-25, id {slot.id})" in text
    assert "/opt/jarvis/secrets/master.key" in text and "backup" in text
    assert "07070707" not in text and r"\x07" not in text


def test_a_vault_without_slots_says_so() -> None:
    """No slot is a plain refusal, too."""
    with pytest.raises(KeyRefused, match="slots: none"):
        open_slots(VAULT_ID, [], master())


def test_a_master_key_never_waits_for_a_passphrase_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots of another kind are passed by, so a start with a key file stretches nothing."""
    slots = [slot_for(SlotKind.PASSPHRASE), slot_for(SlotKind.FILE)]
    monkeypatch.delattr(openers, "crypto_pwhash_alg")
    assert open_slots(VAULT_ID, slots, master()).reveal() == KEY.reveal()


def test_a_long_passphrase_passes_the_other_slots_by() -> None:
    """A passphrase longer than a key may be opens its own slot behind that of a file."""
    opener = Opener.from_passphrase("correct horse " * 10)
    slots = [slot_for(SlotKind.FILE), new_slot(VAULT_ID, KEY, opener, NOW, CHEAP)]
    assert open_slots(VAULT_ID, slots, opener).reveal() == KEY.reveal()


def test_a_wrapping_key_is_keyed_blake2b_of_rfc_7693() -> None:
    """Another implementation can compute it from master key and salt; no update may change it."""
    salt = bytes(range(16))
    expected = blake2b(digest_size=32, key=MASTER, salt=salt, person=b"jarvis-slot").digest()
    assert master().wrapping_key(Blake2b(salt)) == expected


def test_a_wrong_passphrase_opens_nothing() -> None:
    """A passphrase that is off by its case is another."""
    with pytest.raises(KeyRefused, match=r"the passphrase \(passphrase\) opened none"):
        open_slots(
            VAULT_ID, [slot_for(SlotKind.PASSPHRASE)], Opener.from_passphrase("Correct horse")
        )


def test_a_passphrase_is_the_same_from_every_keyboard() -> None:
    """A composed and a decomposed accent are one passphrase."""
    composed, decomposed = (Opener.from_passphrase(text) for text in ("caf\u00e9", "cafe\u0301"))
    assert composed.wrapping_key(Blake2b(bytes(16))) == decomposed.wrapping_key(Blake2b(bytes(16)))


@pytest.mark.parametrize("text", ["", "x" * 1025])
def test_what_nobody_types_is_no_passphrase(text: str) -> None:
    """Neither nothing nor a whole file is taken for a passphrase."""
    with pytest.raises(KeyRefused, match="empty or longer"):
        Opener.from_passphrase(text)


def test_a_master_key_may_move_from_file_to_credential() -> None:
    """The same 32 bytes open the slot, whichever way the daemon was given them."""
    moved = Opener.from_key(MASTER, "credential master.key", SlotKind.CREDENTIAL)
    assert open_slots(VAULT_ID, [slot_for(SlotKind.FILE)], moved).reveal() == KEY.reveal()


@pytest.mark.parametrize(
    "change",
    [
        {"id": "00000000"},
        {"kind": SlotKind.CREDENTIAL},
        {"created_at": NOW + timedelta(seconds=1)},
        {"kdf": Blake2b(bytes(16))},
        {"nonce": bytes(24)},
        {"wrapped": bytes(48)},
    ],
)
def test_a_slot_is_bound_to_all_that_it_says(change: dict[str, object]) -> None:
    """A slot whose id, kind, date, salt, nonce or box was changed doesn't open."""
    with pytest.raises(KeyRefused):
        open_slots(VAULT_ID, [replace(slot_for(SlotKind.FILE), **change)], master())


def test_a_slot_is_bound_to_its_vault() -> None:
    """A slot that was copied from another vault doesn't open here."""
    with pytest.raises(KeyRefused):
        open_slots("f" * 32, [slot_for(SlotKind.FILE)], master())


@pytest.mark.parametrize(
    "spelling",
    [
        MASTER,
        MASTER.hex().encode(),
        MASTER.hex().upper().encode() + b"\n",
        b64encode(MASTER),
        b64encode(MASTER) + b"\r\n",
    ],
)
def test_a_master_key_is_read_raw_in_hex_and_in_base64(spelling: bytes) -> None:
    """What `openssl rand`, with or without -hex and -base64, writes is a master key."""
    slot = slot_for(SlotKind.FILE)
    opener = Opener.from_key(spelling, "file")
    assert open_slots(VAULT_ID, [slot], opener).reveal() == KEY.reveal()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MASTER[:31],
        MASTER + b"\n",
        MASTER.hex()[:62].encode(),
        b"zz" * 32,
        b"\xff" * 64,
        b64encode(MASTER[:31]),
        b64encode(MASTER)[:-1],
        b"swordfish",
    ],
)
def test_what_is_no_master_key_is_refused_without_being_shown(data: bytes) -> None:
    """The refusal says the file and its length, and not what stands in it."""
    with pytest.raises(KeyRefused, match=f"^/key holds {len(data)} bytes") as caught:
        Opener.from_key(data, "/key")
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize("zeros", [bytes(32), b"0" * 64, b64encode(bytes(32))])
def test_a_master_key_of_zeros_is_refused(zeros: bytes) -> None:
    """What a disk that lost its blocks gives back opens nothing and makes no slot."""
    with pytest.raises(KeyRefused, match="only zeros"):
        Opener.from_key(zeros, "/key")


def test_new_master_keys_are_keys_and_differ() -> None:
    """A generated key file can be read back, and no two are the same."""
    made = {new_master_key() for _ in range(100)}
    assert len(made) == 100
    assert all(Opener.from_key(key, "new") for key in made)


@pytest.mark.parametrize(
    ("ops", "memory"),
    [(1, 64 << 20), (17, 64 << 20), (2, (64 << 20) - 1), (2, (1 << 30) + 1), (0, 0), (-1, -1)],
)
def test_argon2id_is_bounded_when_made_and_when_read(ops: int, memory: int) -> None:
    """A file can neither weaken a passphrase nor take the memory of the host."""
    with pytest.raises(ValueError, match="out of bounds"):
        Argon2id(bytes(16), ops, memory)
    written = msgspec.json.encode(slot_for(SlotKind.PASSPHRASE))
    weak = written.replace(b'"ops":2,"memory":67108864', b'"ops":%d,"memory":%d' % (ops, memory))
    assert weak != written
    with pytest.raises(msgspec.ValidationError, match="out of bounds"):
        msgspec.json.decode(weak, type=Slot)


@pytest.mark.parametrize("bounds", [(2, 64 << 20), (16, 1 << 30)])
def test_the_bounds_of_argon2id_belong_to_it(bounds: tuple[int, int]) -> None:
    """The least and the greatest cost can be written down."""
    kdf = Argon2id(bytes(16), *bounds)
    assert (kdf.ops, kdf.memory) == bounds


@pytest.mark.parametrize(
    ("kind", "kdf"),
    [
        (SlotKind.PASSPHRASE, Blake2b(bytes(16))),
        (SlotKind.FILE, CHEAP),
        (SlotKind.RECOVERY, CHEAP),
        (SlotKind.FILE, Blake2b(bytes(15))),
    ],
)
def test_a_derivation_suits_its_slot(kind: SlotKind, kdf: Blake2b | Argon2id) -> None:
    """A passphrase is never stretched by a fast hash, and every salt has 16 bytes."""
    with pytest.raises(ValueError, match=r"argon2id belongs|salt"):
        Slot("id", kind, NOW, kdf)


def test_too_little_memory_is_said_and_is_no_wrong_passphrase(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who runs under a memory limit learns that the limit is the trouble."""

    def starve(*_: object) -> bytes:
        raise OutOfMemory

    slot = slot_for(SlotKind.PASSPHRASE)
    monkeypatch.setattr(openers, "crypto_pwhash_alg", starve)
    with pytest.raises(KeyRefused, match="takes 64 MiB of memory"):
        open_slots(VAULT_ID, [slot], OPENERS[SlotKind.PASSPHRASE]())


def test_a_wiped_opener_opens_nothing() -> None:
    """After `wipe` its secret is gone."""
    opener = master()
    opener.wipe()
    with pytest.raises(KeyRefused):
        open_slots(VAULT_ID, [slot_for(SlotKind.FILE)], opener)


@given(secret=st.binary(min_size=20, max_size=20), data=st.data())
def test_a_recovery_code_is_read_however_it_was_written_down(
    secret: bytes, data: st.DataObject
) -> None:
    """Case, spaces and hyphens don't matter, O and I and L are read as 0 and 1."""
    spellings = {"0": "0Oo", "1": "1IiLl", "-": ["-", "", " ", " - "]}
    typed = "".join(
        data.draw(st.sampled_from(spellings.get(character, [character, character.lower()])))
        for character in format_recovery_code(secret)
    )
    assert parse_recovery_code(typed) == secret


@given(
    secret=st.binary(min_size=20, max_size=20), place=st.integers(0, 35), step=st.integers(1, 31)
)
def test_one_wrong_character_of_a_recovery_code_is_noticed(
    secret: bytes, place: int, step: int
) -> None:
    """A slip of the pen is called one, before any slot is tried."""
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    code = format_recovery_code(secret).replace("-", "")
    wrong = digits[(digits.index(code[place]) + step) % 32]
    with pytest.raises(KeyRefused, match="mistyped"):
        parse_recovery_code(code[:place] + wrong + code[place + 1 :])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has 0"),
        (CODE[:-1], "has 35"),
        (CODE + "0", "has 37"),
        ("U" + CODE[1:], "1 of group 1"),
    ],
)
def test_what_is_no_recovery_code_says_why(text: str, fault: str) -> None:
    """Length and place are told, the code isn't."""
    with pytest.raises(KeyRefused, match=fault) as caught:
        parse_recovery_code(text)
    assert CODE[5:9] not in str(caught.value)


def test_new_recovery_codes_have_160_random_bits() -> None:
    """Nine groups of four; each code is another, and each bit of it is sometimes set."""
    codes = [new_recovery_code() for _ in range(200)]
    assert len(set(codes)) == 200
    assert all(len(code.split("-")) == 9 for code in codes)
    seen = 0
    for code in codes:
        seen |= int.from_bytes(parse_recovery_code(code))
    assert seen == (1 << 160) - 1

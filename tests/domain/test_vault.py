"""The vault is a fold over records: order, overlays and compaction don't change what it holds."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.domain.changes import (
    AnyChange,
    Care,
    Record,
    SecretDeleted,
    SecretRestored,
    TokenAdded,
    TokenEnded,
    VersionPut,
    decode_record,
    encode_record,
)
from jarvis_secretsd.domain.identity import Token
from jarvis_secretsd.domain.vault import Secret, Vault
from jarvis_secretsd.values import ClientId, Kid, Kind, SecretName, SecretValue

from .world import NOW

NAMES = [SecretName(text) for text in ("a", "b", "app/db", "z_1")]
GRACE = timedelta(days=14)


def put(name: str, number: int, day: float = 0, kind: Kind = Kind.PASSWORD) -> VersionPut:
    """A put whose kid and value follow from its number."""
    at = NOW + timedelta(days=day)
    return VersionPut(
        SecretName(name),
        Kid(f"{number:016x}"),
        number,
        SecretValue(f"{name}-{number}".encode()),
        Care(kind),
        at,
        at + GRACE,
    )


def folded(changes: list[AnyChange]) -> Vault:
    """The vault that these changes make."""
    vault = Vault()
    for seq, change in enumerate(changes, start=1):
        vault.apply(seq, change)
    return vault


def contents(vault: Vault) -> tuple[list[Secret | None], list[Token], int]:
    """All that can be asked of a vault."""
    return [vault.secret(name) for name in vault.names()], vault.tokens(), vault.live_count


@st.composite
def histories(draw: st.DrawFn) -> list[AnyChange]:
    """Histories that the service could have made, days apart."""
    vault, changes = Vault(), list[AnyChange]()
    for day in range(draw(st.integers(0, 12))):
        name = draw(st.sampled_from(NAMES))
        secret = vault.secret(name)
        kind = draw(st.sampled_from([Kind.PASSWORD, Kind.ENCRYPTION_KEY]))
        choice: AnyChange = put(name, secret.number + 1 if secret else 1, day * 3, kind)
        what = draw(st.integers(0, 5))
        token = Token(f"{day:016x}", f"{day:064x}", ClientId("c"), NOW, NOW + 3 * GRACE)
        if what == 0 and secret and secret.is_live:
            choice = SecretDeleted(name, NOW + timedelta(days=day * 3) + GRACE)
        elif what == 1 and secret and secret.deleted_until:
            choice = SecretRestored(name)
        elif what == 2:
            choice = TokenAdded(token)
        elif what == 3 and vault.tokens():
            choice = TokenEnded(vault.tokens()[0].digest)
        vault.apply(vault.seq + 1, choice)
        changes.append(choice)
    return changes


@given(histories(), st.integers(0, 12))
def test_an_overlay_that_is_absorbed_equals_having_applied_it(
    changes: list[AnyChange], cut: int
) -> None:
    """A turn on an overlay leaves the same vault as the records replayed at a start."""
    vault = folded(changes[:cut])
    overlay = vault.overlay()
    for change in changes[cut:]:
        overlay.apply(overlay.seq + 1, change)
    seen = contents(overlay)
    vault.absorb(overlay)
    assert contents(vault) == contents(folded(changes)) == seen


@given(histories(), st.integers(0, 12))
def test_a_dropped_overlay_leaves_nothing_behind(changes: list[AnyChange], cut: int) -> None:
    """A turn that couldn't be made durable has never been."""
    vault = folded(changes[:cut])
    before = contents(vault)
    overlay = vault.overlay()
    for change in changes[cut:]:
        overlay.apply(overlay.seq + 1, change)
    assert contents(vault) == before


@given(histories())
def test_the_essence_gives_the_vault_back(changes: list[AnyChange]) -> None:
    """Compaction keeps what is there, and the sequence numbers of what it keeps."""
    vault = folded(changes)
    essence = vault.essence(NOW)
    again = Vault()
    for seq, change in essence:
        again.apply(seq, change)
    assert contents(again) == contents(vault)
    numbers = [seq for seq, _ in essence]
    assert numbers == sorted(set(numbers))


@given(histories())
def test_the_essence_leaves_out_what_time_has_ended(changes: list[AnyChange]) -> None:
    """A year later no ended version, deleted secret or ended token is written again."""
    vault, later = folded(changes), NOW + timedelta(days=365)
    again = Vault()
    for seq, change in vault.essence(later):
        again.apply(seq, change)
    for name in vault.names():
        before, after = vault.secret(name), again.secret(name)
        assert before is not None
        assert after is not None
        assert after.number == before.number
        assert after.is_live == before.is_live
        if before.is_live and before.care.kind is not Kind.ENCRYPTION_KEY:
            assert after.versions == (before.current,)
    assert again.tokens() == []


@given(histories())
def test_a_record_reads_back_as_it_was_written(changes: list[AnyChange]) -> None:
    """What is sealed into the vault is what comes out of it."""
    for change in changes:
        record = Record(change, None)
        assert decode_record(encode_record(record)) == record


def test_a_value_keeps_its_bytes_and_whether_it_is_text() -> None:
    """NUL, newlines and bytes that aren't UTF-8 are values like others."""
    value = SecretValue(bytes(range(256)), is_text=False)
    change = VersionPut(NAMES[0], Kid("0" * 16), 1, value, Care(Kind.EXTERNAL), NOW)
    decoded = decode_record(encode_record(Record(change, None))).change
    assert isinstance(decoded, VersionPut)
    assert decoded.value.reveal() == bytes(range(256))
    assert not decoded.value.is_text


def test_a_superseded_version_stays_until_its_grace_ends() -> None:
    """The old kid is found for fourteen days, and let go by the next put after them."""
    vault = folded([put("a", 1), put("a", 2, day=1)])
    secret = vault.live(NAMES[0])
    assert secret is not None
    assert [version.number for version in secret.versions] == [1, 2]
    vault.apply(3, put("a", 3, day=20))
    secret = vault.live(NAMES[0])
    assert secret is not None
    assert [version.number for version in secret.versions] == [2, 3]


def test_an_encryption_key_is_never_let_go_by_time() -> None:
    """Data encrypted under the old key is still out there."""
    kind = Kind.ENCRYPTION_KEY
    vault = folded([put("a", 1, kind=kind), put("a", 2, 1, kind), put("a", 3, 500, kind)])
    secret = vault.live(NAMES[0])
    assert secret is not None
    assert len(secret.versions) == 3


def test_names_come_in_byte_order_behind_the_one_given() -> None:
    """Paging by name neither repeats nor leaves out, also across an overlay."""
    vault = folded([put("m", 1), put("a", 1), put("z", 1)])
    overlay = vault.overlay()
    overlay.apply(4, put("c", 1))
    assert list(overlay.names()) == ["a", "c", "m", "z"]
    assert list(overlay.names(after="c")) == ["m", "z"]
    assert list(overlay.names(after="d")) == ["m", "z"]

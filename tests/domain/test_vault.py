"""The vault is a fold over records: order, overlays and compaction don't change what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.domain.changes import (
    AnyChange,
    Care,
    NameSpent,
    Record,
    SecretDeleted,
    SecretRestored,
    Stepped,
    TokenAdded,
    TokenEnded,
    VersionPending,
    VersionPut,
    decode_record,
    encode_record,
)
from jarvis_secretsd.domain.identity import Token
from jarvis_secretsd.domain.lifecycle import LIFE, Step
from jarvis_secretsd.domain.secret import Secret, Version
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.values import ClientId, Kid, Kind, SecretName, SecretValue, State

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


def versions_of(vault: Vault, name: SecretName) -> tuple[Version, ...]:
    """The versions of a secret that is there."""
    secret = vault.secret(name)
    assert secret is not None
    return secret.versions


def contents(vault: Vault) -> tuple[list[Secret | None], list[Token], int]:
    """All that can be asked of a vault."""
    return [vault.secret(name) for name in vault.names()], vault.tokens(), vault.live_count


@st.composite
def histories(draw: st.DrawFn) -> list[AnyChange]:
    """Histories that the service could have made, days apart."""
    vault, changes = Vault(), list[AnyChange]()
    for day in range(draw(st.integers(0, 14))):
        name = draw(st.sampled_from(NAMES))
        change = draw(st.sampled_from([*possible(vault, name, day * 3)]))
        vault.apply(vault.seq + 1, change)
        changes.append(change)
    return changes


def possible(vault: Vault, name: SecretName, day: int) -> Iterator[AnyChange]:
    """What can happen to this secret on this day, and to the tokens."""
    secret, at = vault.secret(name), NOW + timedelta(days=day)
    number = secret.number + 1 if secret else 1
    kind = [Kind.PASSWORD, Kind.ENCRYPTION_KEY][day % 2]
    token = Token(f"{day:016x}", f"{day:064x}", ClientId("c"), NOW, NOW + 3 * GRACE)
    yield TokenAdded(token)
    if vault.tokens():
        yield TokenEnded(vault.tokens()[0].digest)
    if secret is None or not secret.is_live:
        yield put(name, number, day, kind)
    if secret is None or not secret.versions:
        return
    if secret.deleted_until:
        yield SecretRestored(name)
        yield NameSpent(name, secret.number, at)
        return
    yield from (step for each in secret.versions for step in steps_of(secret, each, at))
    if secret.candidate is None:
        yield put(name, number, day, kind)
        yield SecretDeleted(name, at + GRACE)
        born = put(name, number, day, kind)
        yield VersionPending(name, born.kid, number, born.value, born.care, at, at + GRACE)


def steps_of(secret: Secret, version: Version, at: datetime) -> Iterator[Stepped]:
    """The steps that this version can take now."""
    for step, state in LIFE[version.state].items():
        returns = step is Step.REINSTATE and secret.candidate is not None
        if step is not Step.SUPERSEDE and not returns:
            until = at + GRACE if state is State.CURRENT else None
            yield Stepped(secret.name, version.kid, step, at, until)


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
def test_the_essence_leaves_out_tokens_that_have_ended(changes: list[AnyChange]) -> None:
    """Only they end by the time itself; a version's end is a record, and no clock makes it."""
    vault = folded(changes)
    again = folded([change for _, change in vault.essence(NOW + timedelta(days=365))])
    assert again.tokens() == []
    assert [each.kid for name in again.names() for each in versions_of(again, name)] == [
        each.kid for name in vault.names() for each in versions_of(vault, name)
    ]


@given(histories())
def test_a_record_reads_back_as_it_was_written(changes: list[AnyChange]) -> None:
    """What is sealed into the vault is what comes out of it."""
    for change in changes:
        record = Record(change, None)
        assert decode_record(encode_record(record)) == record


def test_what_the_first_release_wrote_is_read() -> None:
    """Before there were hooks: a vault of then opens, and nothing of it is lost or revived."""
    born: dict[str, Any] = {
        "type": "put",
        "name": "a",
        "number": 1,
        "value": [b"v", True],
        "care": {"kind": "password", "inferred": True, "grace_days": 3},
        "at": NOW,
    }
    old = [
        born | {"kid": "1" * 16},
        born | {"kid": "2" * 16, "number": 2, "previous_until": NOW + GRACE},
        {"type": "delete", "name": "a", "until": NOW + GRACE},
        {"type": "restore", "name": "a"},
        born | {"kid": "3" * 16, "name": "b"},
        {"type": "spent", "name": "b", "number": 1},
        {"type": "rewritten", "before": {"seq": 6, "head": "0" * 64}},
    ]
    payloads = [msgspec.msgpack.encode({"change": change, "event": None}) for change in old]
    vault = folded([decode_record(payload).change for payload in payloads])
    before, current = versions_of(vault, NAMES[0])
    assert (before.state, before.until) == (State.GRACE, NOW + GRACE)
    assert (current.state, current.value.reveal()) == (State.CURRENT, b"v")
    assert versions_of(vault, NAMES[1]) == ()
    assert (vault.live_count, vault.seq) == (1, 7)


def test_a_value_keeps_its_bytes_and_whether_it_is_text() -> None:
    """NUL, newlines and bytes that aren't UTF-8 are values like others."""
    value = SecretValue(bytes(range(256)), is_text=False)
    change = VersionPut(NAMES[0], Kid("0" * 16), 1, value, Care(Kind.EXTERNAL), NOW)
    decoded = decode_record(encode_record(Record(change, None))).change
    assert isinstance(decoded, VersionPut)
    assert decoded.value.reveal() == bytes(range(256))
    assert not decoded.value.is_text


def test_a_superseded_version_stays_until_a_step_ends_it() -> None:
    """The old kid is found until the record of its end, however late that comes."""
    vault = folded([put("a", 1), put("a", 2, day=1), put("a", 3, day=20)])
    assert [version.number for version in versions_of(vault, NAMES[0])] == [1, 2, 3]
    assert vault.dead_since is None
    first = versions_of(vault, NAMES[0])[0].kid
    vault.apply(4, Stepped(NAMES[0], first, Step.END, NOW + timedelta(days=20)))
    assert [version.number for version in versions_of(vault, NAMES[0])] == [2, 3]
    assert vault.dead_since == NOW + timedelta(days=20)


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

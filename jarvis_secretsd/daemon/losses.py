"""What a restore would lose: how a vault differs from the backup that is to take its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jarvis_secretsd.daemon.proving import Proven
from jarvis_secretsd.daemon.restoring import Found, Present
from jarvis_secretsd.domain.secret import Secret
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.values import Kid, SecretName

MAX_NAMES = 20
"""More names in one line are counted."""


def losses(present: Present, proven: Proven) -> Iterator[str]:
    """A line for each thing that would be lost, or undone. No file: no line."""
    if not present.files:
        return
    yield f"there is already: {', '.join(map(str, present.files))}"
    if present.found is None:
        yield present.trouble
    elif present.found.vault_id != proven.header.vault_id:
        yield f"the vault is another one than the backup's, with {_secrets(present.found.vault)}"
    else:
        yield from [*_undone(present.found, proven)] or ["the vault has nothing that isn't in it"]


def _undone(found: Found, proven: Proven) -> Iterator[str]:
    before, now = proven.vault, found.vault
    records = found.head.seq - proven.manifest.vault.seq
    if records > 0:
        more, lost = ("1 record", "it") if records == 1 else (f"{records} records", "they")
        yield f"the vault has {more} more, up to {found.head.seq}; {lost} would be lost"
    changed = sorted(
        secret.name
        for secret in now.secrets()
        if secret.is_live and (old := before.live(secret.name)) and _end(old) != _end(secret)
    )
    made = sorted(
        each.name for each in now.secrets() if each.is_live and not before.live(each.name)
    )
    gone = sorted(
        each.name for each in before.secrets() if each.is_live and not now.live(each.name)
    )
    yield from _named("made since, and lost", made)
    yield from _named("changed since, and turned back", changed)
    yield from _named("deleted since, and back", gone)
    if records > 0 and not (made or changed or gone):
        yield "no secret was made, changed or deleted since"
    tokens = {each.digest for each in now.tokens()} ^ {each.digest for each in before.tokens()}
    if tokens:
        yield f"tokens made or revoked since, and undone: {len(tokens)}"
    if bool(now.lock) != bool(before.lock):
        yield f"the vault is {_lock(now)}, and would be {_lock(before)}"
    if found.is_rekeyed:
        yield "the vault was rekeyed since: the keys that were removed would open it again"


def _end(secret: Secret) -> tuple[int, Kid]:
    return secret.seq, secret.current.kid


def _named(what: str, names: Iterable[SecretName]) -> Iterator[str]:
    listed = [*names]
    if listed:
        more = f" and {len(listed) - MAX_NAMES} more" if len(listed) > MAX_NAMES else ""
        yield f"{what}: {', '.join(listed[:MAX_NAMES])}{more}"


def _secrets(vault: Vault) -> str:
    return f"{vault.live_count} secret{'s' * (vault.live_count != 1)}"


def _lock(vault: Vault) -> str:
    return "locked" if vault.lock else "not locked"

"""LoadCredential= from the daemon, by the systemd of the guest: who gets what, and who nothing."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.consumers import (
    CREDENTIALS,
    NO_CREDENTIAL,
    RESTARTER,
    TAKEN,
    Consumers,
    keeps,
    loads,
    logged_in,
    taken,
)
from tests.systemd.host import POLICY, SERVICE, SOCKET, Host

pytestmark = pytest.mark.systemd("has systemd load credentials")

WEB = "web: {units: [web.service], allow: [plain, tls/key], credentials: {tls-key: tls/key}}"
RESTARTED = WEB.replace("}}", "}, on_rotation: restart}")

SLEEPS = "ExecStart=/bin/sleep infinity\n"


@pytest.fixture
def units(served: Consumers) -> Iterator[Consumers]:
    """The daemon serves both sockets and holds two secrets."""
    served.begin()
    yield served
    served.clear()


def started(host: Host, unit: str) -> str:
    """When it was started last."""
    return host.show("ExecMainStartTimestampMonotonic", unit)


def test_a_unit_gets_its_secrets_with_no_client_code(units: Consumers) -> None:
    """Under the secret's own name and under a file's name; the audit log says which unit read."""
    units.policy(WEB)
    units.run("web.service", loads("plain", "tls-key") + keeps("plain"))
    assert taken("web", "plain") == b"s3cret"
    units.run("web.service", loads("plain", "tls-key") + keeps("tls-key"))
    assert taken("web", "tls-key") == b"-----KEY-----"
    entries = units.entries(transport="credentials", uid=0, unit="web.service", client="web")
    assert {(each["op"], each["name"], each["outcome"], each["rule"]) for each in entries} == {
        ("get", "plain", "allowed", "clients.web.allow[0]"),
        ("get", "tls/key", "allowed", "clients.web.allow[1]"),
    }


def test_a_credential_is_the_value_to_the_byte(units: Consumers) -> None:
    """NUL, bytes that aren't UTF-8, and a newline at the end arrive; an empty value is empty."""
    units.policy(WEB)
    for value in (bytes(range(256)) + b"\n", b""):
        data = base64.b64encode(value).decode()
        units.call("/secret", name="plain", value=data, encoding="base64")
        units.run("web.service", loads("plain") + keeps("plain"))
        assert taken("web", "plain") == value


def test_the_largest_value_arrives_whole(units: Consumers) -> None:
    """256 KiB, more than the socket holds at once, are not cut."""
    value = "x" * 256 * 1024
    units.store("plain", value)
    units.policy(WEB)
    units.run("web.service", loads("plain") + keeps("plain"))
    assert taken("web", "plain") == value.encode()


REFUSED = (
    ("other: {units: [o.service], allow: [plain]}", "plain", "is in no client's units"),
    ("web: {units: [web.service], allow: [plain]}", "no-such", "default-deny"),
    ('web: {units: [web.service], allow: ["*"], permissions: [read]}', "gone", "not_found"),
    ("web: {units: [web.service], allow: [plain]}", "Not-A-Name", "no line for Not-A-Name"),
    ("web: {units: [web.service], allow: [plain], deny: [plain]}", "plain", "deny[0]"),
    ("web: {units: [web.service], allow: [plain], token: required}", "plain", "no client's"),
)
"""Clients, what web.service wants, and why it doesn't get it."""


@pytest.mark.parametrize("at", [CREDENTIALS, str(SOCKET)])
def test_a_unit_that_gets_nothing_fails(units: Consumers, at: str) -> None:
    """Never does it start with an empty credential, on whichever socket it asks."""
    for client, loaded, rule in REFUSED:
        units.policy(client)
        units.run("web.service", loads(loaded, at=at) + keeps(loaded), ok=False)
        assert units.status_of("web.service") == NO_CREDENTIAL
        assert not (TAKEN / f"web.{loaded}").exists()
        entry = units.entries(transport="credentials")[-1]
        assert entry["unit"] == "web.service"
        assert rule in entry["rule"] or rule == entry.get("note")
    assert len(units.entries(transport="credentials")) == len(REFUSED)


def test_the_main_socket_answers_systemd_by_the_same_rules(units: Consumers) -> None:
    """Who took the wrong path in LoadCredential= gets the secret, as the unit that it is."""
    units.policy(WEB)
    units.run("web.service", loads("plain", at=str(SOCKET)) + keeps("plain"))
    assert taken("web", "plain") == b"s3cret"
    (entry,) = units.entries(op="get", name="plain")
    assert (entry["transport"], entry["unit"]) == ("credentials", "web.service")


def test_what_is_locked_is_refused(units: Consumers) -> None:
    """While the vault is locked the unit fails; afterwards it starts."""
    units.policy(WEB)
    units.call("/lock")
    units.run("web.service", loads("plain") + keeps("plain"), ok=False)
    assert units.status_of("web.service") == NO_CREDENTIAL
    units.call("/unlock")
    units.host.systemctl("start", "web.service")
    assert taken("web", "plain") == b"s3cret"


def test_each_command_of_a_unit_gets_it(units: Consumers) -> None:
    """systemd may ask once a command, and once more at each start; it is the same each time."""
    units.policy(WEB)
    first = f"ExecStartPre=/bin/sh -c 'cat %d/plain >{TAKEN}/first'\n"
    units.run("web.service", loads("plain") + first + keeps("plain"))
    units.host.systemctl("restart", "web.service")
    assert (TAKEN / "first").read_bytes() == taken("web", "plain") == b"s3cret"


def test_the_unit_wins_a_secret_that_any_of_its_clients_may_have(units: Consumers) -> None:
    """Of two clients that list the unit, the first that may read it is who asked."""
    units.policy(
        "one: {units: [web.service], allow: [tls/key]}",
        "two: {units: [web.service], allow: [plain]}",
        "three: {units: [web.service], allow: [plain]}",
    )
    units.run("web.service", loads("plain") + keeps("plain"))
    assert taken("web", "plain") == b"s3cret"
    (entry,) = units.entries(transport="credentials")
    assert entry["client"] == "two"


def test_unit_and_credential_have_83_characters(units: Consumers) -> None:
    """Up to there systemd connects; one more than it ever takes, and the unit fails."""
    unit = "web.service"
    for file, ok in (("f" * (83 - len(unit)), True), ("f" * (100 - len(unit)), False)):
        units.policy(
            f"web: {{units: [{unit}], allow: [plain], credentials: {{{file}: plain}}}}",
        )
        units.run(unit, loads(file) + keeps(file), ok=ok)
    assert taken("web", "f" * (83 - len(unit))) == b"s3cret"
    assert (
        "together, and systemd has room for 83" in units.host.run("jarvis-secretsd", "check").stdout
    )


def test_a_user_s_systemd_gets_nothing(units: Consumers) -> None:
    """The manager of a user can call itself any unit; the user's unit fails, it isn't empty."""
    units.policy(WEB.replace("web.service]", "web.service], users: [other]"))
    with logged_in(units.host, "other") as manager:
        copy = f"ExecStart=/bin/sh -c 'cat $CREDENTIALS_DIRECTORY/plain >{TAKEN}/user'\n"
        service = f"Type=oneshot\n{loads('plain', at=str(SOCKET))}{copy}"
        manager.run("web.service", service, ok=False)
        assert manager.status_of("web.service") == NO_CREDENTIAL
    assert not (TAKEN / "user").exists()
    assert f"uid {manager.uid} is not the system's systemd" in units.host.journal()


def test_nobody_but_root_reaches_the_socket(units: Consumers) -> None:
    """Its directory is closed to the daemon's own user too, and it is no directory to mount."""
    for user in ("web", "jarvis"):
        assert "Permission denied" in units.host.run("ls", CREDENTIALS, user=user, ok=False).stderr
    assert Path(CREDENTIALS).parent != SOCKET.parent
    assert Path(CREDENTIALS).stat().st_mode & 0o777 == 0o600


def test_a_consumer_that_starts_first_waits_for_the_daemon(units: Consumers) -> None:
    """The socket is there before the daemon, which starts for whoever asks."""
    units.policy(WEB)
    units.host.systemctl("stop", SERVICE)
    units.run("web.service", loads("plain") + keeps("plain"))
    assert taken("web", "plain") == b"s3cret"
    assert units.host.pid


def test_a_unit_that_starts_while_the_daemon_restarts_gets_its_secret(units: Consumers) -> None:
    """However the two fall together, no unit fails, and none has an empty credential."""
    units.policy(WEB)
    units.write("web.service", loads("plain") + keeps("plain"))
    units.host.drop_in("[Unit]\nStartLimitIntervalSec=0\n", "web.service")
    deadline = time.monotonic() + 6
    count = 0
    while time.monotonic() < deadline:
        units.host.systemctl("restart", "--no-block", SERVICE)
        for _ in range(4):
            units.host.systemctl("start", "web.service")
            assert taken("web", "plain") == b"s3cret"
            count += 1
    assert count >= 8


def test_a_rotation_restarts_the_units_that_have_the_secret(units: Consumers) -> None:
    """Once for two secrets at a time, with the new ones; a unit that is stopped stays so."""
    host = units.host
    units.policy(RESTARTED.replace("web.service]", "web.service, idle.service]"))
    units.write("idle.service", loads("plain") + keeps("plain", "exec"))
    units.run("web.service", loads("plain", "tls-key") + keeps("plain", "exec"))
    host.until((TAKEN / "web.plain").exists)
    before = started(host, "web.service")
    units.store("plain", "s3cret 2")
    units.store("tls/key", "-----KEY 2-----")
    host.until(lambda: (TAKEN / "web.plain").read_bytes() == b"s3cret 2")
    host.until(lambda: host.show("ActiveState", RESTARTER) == "inactive")
    assert started(host, "web.service") != before
    assert host.journal("web.service").count("Started web.service") == 2
    assert host.show("ActiveState", "idle.service") == "inactive"
    assert os.listdir("/run/jarvis-units") == []


def test_a_rotation_reloads_where_the_policy_says_so(units: Consumers) -> None:
    """The unit's own ExecReload= runs, and its process goes on."""
    host = units.host
    units.policy("web: {users: [web], units: [web.service], allow: [plain], on_rotation: reload}")
    units.run("web.service", f"User=web\n{SLEEPS}ExecReload=/bin/touch {TAKEN}/reloaded\n")
    before = started(host, "web.service")
    units.store("plain", "s3cret 2")
    host.until((TAKEN / "reloaded").exists)
    assert started(host, "web.service") == before


def test_what_is_new_or_of_no_concern_restarts_nothing(units: Consumers) -> None:
    """A first version, a secret that the client may not read, a client without on_rotation."""
    host = units.host
    units.policy(
        "web: {users: [web], units: [web.service], allow: [plain, fresh], on_rotation: restart}",
        "calm: {users: [web], units: [calm.service], allow: [plain]}",
    )
    for unit in ("web.service", "calm.service"):
        units.run(unit, SLEEPS)
    units.store("fresh", "1")
    units.store("tls/key", "other")
    time.sleep(0.3)
    assert os.listdir("/run/jarvis-units") == []
    units.store("plain", "s3cret 2")
    host.until(lambda: "try-restart web.service" in host.journal(RESTARTER))
    assert host.journal("calm.service").count("Started") == 1


def test_a_daemon_gone_wrong_restarts_nothing_else(units: Consumers) -> None:
    """What it leaves for units that the policy doesn't list is taken away and does nothing."""
    host = units.host
    units.policy(RESTARTED)
    units.run("victim.service", SLEEPS)
    before = started(host, "victim.service")
    host.run("touch", "/run/jarvis-units/victim.service", "/run/jarvis-units/-H", user="jarvis")
    host.until(lambda: "'victim.service': no client of the policy" in host.journal(RESTARTER))
    assert started(host, "victim.service") == before
    assert os.listdir("/run/jarvis-units") == []


def test_a_policy_that_is_not_root_s_restarts_nothing(units: Consumers) -> None:
    """The daemon may read a policy of its own; root's helper takes no orders from it."""
    host = units.host
    units.policy(RESTARTED)
    units.run("web.service", loads("plain") + SLEEPS)
    before = started(host, "web.service")
    host.run("chown", "jarvis", str(POLICY))
    units.store("plain", "s3cret 2")
    host.until(lambda: "policy.yaml belongs to uid" in host.journal(RESTARTER))
    assert started(host, "web.service") == before

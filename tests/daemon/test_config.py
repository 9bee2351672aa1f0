"""config.toml: what it may say, what each problem is told as, and what holds without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields

from jarvis_secretsd.daemon.addresses import TcpAddress, parse_tcp
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.configfile import level_of, load_config, parse_config
from jarvis_secretsd.daemon.configtable import path_of, table_faults
from jarvis_secretsd.daemon.devmode import dev_config
from jarvis_secretsd.daemon.policyfile import load_policy
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.errors import ConfigurationError, UnsafeFile
from jarvis_secretsd.values import ClientId, Kind, Permission

EXAMPLE = Path(__file__).parents[2] / "config.toml.example"

FIRST_USERS_FILE = """
[server]
bind_addr = "127.0.0.1:8081"
allow_unix_socket = false

[paths]
vault_path = "/opt/jarvis/secrets/vault.json"
master_key_path = "/opt/jarvis/secrets/master.key"
audit_path = "/opt/jarvis/audit/audit.jsonl"

[security]
rotation_days = 90
grace_days = 14
require_client_id_header = true
deny_network_remote = true
rbac_policy_path = "/etc/jarvis-secretsd/policy.yaml"

[crypto]
aead = "aes-gcm-256"
jwt_sign_algo = "ed25519"
kdf = "argon2id"

[logging]
level = "info"
json = false
"""


def read(text: str, **environ: str) -> Config:
    return parse_config(text.encode(), environ)


def problems(text: str | bytes) -> tuple[str, ...]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigurationError) as caught:
        parse_config(data, {})
    return caught.value.problems


def test_the_file_of_the_first_user_loads_unchanged() -> None:
    """Every setting of the program that this one replaces arrives where it belongs."""
    config = read(FIRST_USERS_FILE)
    assert config.server.tcp == TcpAddress("127.0.0.1", 8081)
    assert config.server.unix_path is None
    assert config.paths.vault_path == Path("/opt/jarvis/secrets/vault.json")
    assert config.paths.master_key_path == Path("/opt/jarvis/secrets/master.key")
    assert config.paths.audit_path == Path("/opt/jarvis/audit/audit.jsonl")
    assert config.security.rbac_policy_path == Path("/etc/jarvis-secretsd/policy.yaml")
    assert config.crypto.aead == "aes-gcm-256"
    assert config.logging.level == "info"


def test_an_empty_file_is_the_defaults() -> None:
    """Without a line, the daemon listens on its Unix socket only and asks for the client."""
    config = read("")
    assert config == Config()
    assert config.server.unix_path == Path("/run/jarvis/secretsd.sock")
    assert config.server.permissions == 0o660
    assert config.server.tcp is None
    assert config.security.require_client_id_header
    assert config.security.deny_network_remote
    assert config.audit.sync == "always"


def test_the_example_says_what_holds_without_it() -> None:
    """Copying the example changes nothing."""
    assert parse_config(EXAMPLE.read_bytes(), {}) == Config()


def every_key(kind: type[Struct] = Config) -> Iterator[str]:
    for each in fields(kind):
        if isinstance(each.type, type) and issubclass(each.type, Struct):
            yield from every_key(each.type)
        elif each.name not in ("hooks", "kinds"):
            yield each.name


@pytest.mark.parametrize("key", [*every_key(), "pattern", "command", "timeout_secs"])
def test_the_example_shows_every_key(key: str) -> None:
    """Nobody has to read the source to learn what can be set."""
    assert re.search(rf"^(# )?{key} = ", EXAMPLE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("table", [each.name for each in fields(Config)])
def test_the_example_shows_every_table(table: str) -> None:
    """A table that can be written is in the example, even if only as a comment."""
    assert re.search(rf"^(# )?\[+{table}[].]", EXAMPLE.read_text(), re.MULTILINE)


def test_every_problem_is_told_at_once() -> None:
    """Whoever mends the file needs one attempt: types, ranges, unknown keys, contradictions."""
    found = problems(
        """
        hoks = 1
        [server]
        bind_adr = "127.0.0.1:1"
        socket_mode = 432
        allowed_hosts = ["ok:1", 3]
        [security]
        rotation_days = "90"
        grace_days = -1
        deny_network_remote = "true"
        [crypto]
        aead = "des"
        [paths]
        vault_path = "vault.json"
        [rotation.kinds]
        pasword = ["*"]
        [[hooks]]
        pattern = "a"
        """
    )
    assert found == (
        "config.toml: hoks: unknown key; did you mean hooks?",
        "config.toml: server.bind_adr: unknown key; did you mean bind_addr?",
        'config.toml: server.socket_mode: expected octal digits as text, as in "0660",'
        ' got the integer 432; write socket_mode = "0660"',
        "config.toml: server.allowed_hosts[1]: expected a host as a Host header has it, as in"
        ' "host.docker.internal:8081", got the integer 3',
        "config.toml: security.rotation_days: expected whole days from 1 to 36500,"
        ' got text "90"; write rotation_days = 90',
        "config.toml: security.grace_days: expected whole days from 0 to 36500,"
        " got the integer -1; write grace_days = 14",
        "config.toml: security.deny_network_remote: expected true or false,"
        ' got text "true"; write deny_network_remote = true',
        'config.toml: crypto.aead: expected one of "xchacha20-poly1305", "aes-gcm-256",'
        ' got text "des"; write aead = "xchacha20-poly1305"',
        'config.toml: paths.vault_path: expected an absolute path, got text "vault.json";'
        ' write vault_path = "/var/lib/jarvis-secretsd/vault.json"',
        'config.toml: rotation.kinds: expected one of "password", "api_key", "jwt_signing_key",'
        ' "encryption_key", "token", "static", "external", got text "pasword"',
        "config.toml: hooks[0].command: is missing;"
        ' write a list like ["/path/of/program", "argument"]',
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server = 3", "server: expected a table, got the integer 3; write [server]"),
        ("[logging]\nlevel = 1979-05-27", "logging.level: expected one of"),
        ("[security]\nrotation_days = 90.0", "got the number 90.0; write rotation_days = 90"),
        ("[security]\nrotation_days = 0", "got the integer 0"),
        ("[security]\nrotation_days = 40000", "got the integer 40000"),
        ("[security]\nrotation_days = true", "got true; write rotation_days = 90"),
        ("[security]\nrotation_days = 7", "write grace_days = 7 or less"),
        ("[paths]\nvault_path = '/a/../b'", "paths.vault_path: expected an absolute path"),
        ("[paths]\nvault_path = '/'", "paths.vault_path: expected an absolute path"),
        ("[paths]\nvault_path = '/a/x'\naudit_path = '/a/x'", "/a/x is also paths.audit_path"),
        (
            "[server]\nsocket_path = '/run/j/s'\ncredentials_path = '/run/j/c'",
            "server.credentials_path: /run/j is also the directory of server.socket_path",
        ),
        (
            f"[server]\ncredentials_path = '/{'x' * 107}'",
            "server.credentials_path: a socket's path is at most 107 bytes",
        ),
        ("[paths]\nmaster_key_path = '/var/lib/jarvis-secretsd/vault.lock'", "the vault's lock"),
        ("[paths]\nvault_path = '/var/lib/jarvis-secretsd/audit.sign.key'", "signing key"),
        ("[limits]\nidle_secs = 90000", "limits.idle_secs: expected whole seconds from 1 to 86400"),
        ("[limits]\nmax_connections_per_uid = 0", "limits.max_connections_per_uid: expected"),
        ("[rotation]\nauto = '*'", "rotation.auto: expected a list in [brackets], got text"),
        ("[[hooks]]\npattern='a'\ncommand=['sh']", "hooks[0].command: which 'sh' runs"),
        ("[[hooks]]\npattern='a'\ncommand=[]", 'hooks[0].command: expected a list like ["/path'),
        ("[crypto]\nkdf = 'scrypt'", 'crypto.kdf: expected one of "argon2id"'),
        ("[security]\nrotation_days = 090", "line 2, column 18"),
        ("[server]\n[server]", "line 2"),
        ("a = " + "[" * 100_000, "config.toml: "),
    ],
)
def test_a_wrong_setting_is_named_by_its_path(text: str, told: str) -> None:
    """The message has the key's path, what was found, and what to write."""
    assert any(told in problem for problem in problems(text)), problems(text)


def test_a_long_wrong_value_is_cut() -> None:
    """What was pasted into the wrong place doesn't fill the terminal."""
    (problem,) = problems(f"[logging]\nlevel = '{'x' * 5000}'")
    assert len(problem) < 300


def test_bytes_that_are_not_utf8_are_named_by_their_line() -> None:
    """No other encoding is guessed."""
    assert problems(b"[server]\n# f\xfcr\n") == (
        "config.toml: line 2 isn't UTF-8; save the file as UTF-8",
    )


def test_a_byte_order_mark_is_named() -> None:
    """Some editors write it unseen, so it is said by name."""
    (problem,) = problems(b"\xef\xbb\xbf[server]\n")
    assert "byte order mark" in problem


@pytest.mark.parametrize(
    ("bind_addr", "address"),
    [
        ("127.0.0.1:8081", TcpAddress("127.0.0.1", 8081)),
        ("127.9.9.9:1", TcpAddress("127.9.9.9", 1)),
        ("[::1]:8081", TcpAddress("::1", 8081)),
        ("[0:0::1]:65535", TcpAddress("::1", 65535)),
    ],
)
def test_a_loopback_address_is_taken(bind_addr: str, address: TcpAddress) -> None:
    """IPv4 as it is, IPv6 in brackets."""
    assert read(f'[server]\nbind_addr = "{bind_addr}"').server.tcp == address


@pytest.mark.parametrize(
    ("bind_addr", "told"),
    [
        ("localhost:8081", 'write bind_addr = "127.0.0.1:8081"'),
        ("0.0.0.0:8081", "deny_network_remote"),
        ("[::]:8081", "deny_network_remote"),
        ("192.168.1.2:8081", 'write bind_addr = "127.0.0.1:8081"'),
        ("[::ffff:127.0.0.1]:8081", '"127.0.0.1:8081"'),
        ("::1:8081", '"[::1]:8081"'),
        ("[::1%lo]:8081", '"[::1]:8081"'),
        ("[127.0.0.1]:8081", '"127.0.0.1:8081"'),
        ("127.0.0.1", "IP:PORT"),
        ("127.0.0.1:", "IP:PORT"),
        ("127.0.0.1:65536", "65535"),
        ("127.0.0.1:８０", "IP:PORT"),
        ("example.org:80", '"127.0.0.1:80"'),
        ("127.1:80", '"127.0.0.1:80"'),
        ("unix://run/x", "absolute path"),
        ("unix:///run/x/", "absolute path"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_refused(bind_addr: str, told: str) -> None:
    """A name, a wide-open address or half an address is refused with the one to write."""
    (problem,) = problems(f'[server]\nbind_addr = "{bind_addr}"')
    assert problem.startswith("config.toml: server.bind_addr: ")
    assert told in problem


def test_remote_addresses_are_taken_only_when_they_are_asked_for() -> None:
    """`deny_network_remote = false` is what opens the daemon to other machines."""
    config = read('[server]\nbind_addr="0.0.0.0:8081"\n[security]\ndeny_network_remote=false')
    assert config.server.tcp == TcpAddress("0.0.0.0", 8081)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_plain_error(text: str) -> None:
    """An address that was read is written back as one that reads the same."""
    try:
        address = parse_tcp(text)
    except ValueError as error:
        assert "expected" in str(error) or "write" in str(error)
    else:
        assert parse_tcp(str(address)) == address


def test_a_unix_address_takes_the_place_of_the_socket_path() -> None:
    """`unix://PATH` says where the Unix socket is; there are never two of them."""
    server = read('[server]\nbind_addr = "unix:///run/other/s.sock"').server
    assert server.unix_path == Path("/run/other/s.sock")
    assert server.tcp is None


@pytest.mark.parametrize(
    "text",
    [
        "[server]\nallow_unix_socket = false",
        '[server]\nallow_unix_socket = false\nbind_addr = "unix:///run/x"',
        '[server]\nsocket_path = "/run/a"\nbind_addr = "unix:///run/b"',
    ],
)
def test_listening_nowhere_or_in_two_places_is_refused(text: str) -> None:
    """The file says which Unix socket there is, without contradiction."""
    assert len(problems(text)) == 1


@pytest.mark.parametrize(("length", "fits"), [(107, True), (108, False)])
def test_a_socket_path_has_at_most_107_bytes(length: int, fits: bool) -> None:
    """The kernel's limit is told before it is met, counted in bytes."""
    text = f'[server]\nsocket_path = "/{"ü" * ((length - 1) // 2)}{"x" * ((length - 1) % 2)}"'
    if fits:
        assert read(text).server.unix_path
    else:
        assert "at most 107 bytes, this one has 108" in problems(text)[0]


def test_what_lies_beside_a_file_follows_it() -> None:
    """Lock and heads go with the vault, the signing keys with the audit log."""
    paths = read("[paths]\nvault_path='/a/v.json'\naudit_path='/b/log.jsonl'").paths
    assert paths.lock_path == Path("/a/v.lock")
    assert paths.heads_path == Path("/a/v.heads")
    assert paths.sign_key_path == Path("/b/audit.sign.key")
    assert paths.sign_pub_path == Path("/b/audit.sign.pub")


def test_hooks_and_kinds_are_read() -> None:
    """Tables of tables arrive as frozen values."""
    config = read(
        "[rotation]\nauto=['a/*']\n[rotation.kinds]\napi_key=['k_*']\n"
        "[[hooks]]\npattern='pg_*'\ncommand=['/bin/rotate', 'x']\ntimeout_secs=5"
    )
    assert config.rotation.auto == ("a/*",)
    assert config.rotation.kinds == {Kind.API_KEY: ("k_*",)}
    assert config.hooks[0].command == ("/bin/rotate", "x")
    assert config.hooks[0].timeout_secs == 5


@pytest.mark.parametrize(
    ("rust_log", "level"),
    [
        ("info", "info"),
        ("WARN", "warn"),
        ("jarvis_secretsd=debug,info", "debug"),
        ("info,jarvis_secretsd=debug", "debug"),
        ("jarvis_secretsd", "trace"),
        ("hyper=trace,error", "error"),
        ("off", "off"),
        ("info/some.*regex", "info"),
        ("hyper=trace", None),
        ("jarvis_secretsd=loud", None),
        ("", None),
        (",,=,", None),
    ],
)
def test_rust_log_sets_the_level_as_it_did(rust_log: str, level: str | None) -> None:
    """A directive for us wins over a bare level; what is not about us leaves the file's level."""
    assert level_of(rust_log) == level
    assert read("[logging]\nlevel = 'error'", RUST_LOG=rust_log).logging.level == (level or "error")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)
SECTIONS = {each.name: each for each in fields(Config)}


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    section = draw(st.sampled_from(sorted(SECTIONS)))
    kind = SECTIONS[section].type
    if not (isinstance(kind, type) and issubclass(kind, Struct)):
        return {section: draw(VALUES)}
    keys = st.sampled_from([each.name for each in fields(kind)])
    return {section: draw(st.dictionaries(keys, VALUES, max_size=3))}


@given(tables())
def test_a_table_without_a_fault_is_a_section(table: dict[str, Any]) -> None:
    """What the list of faults lets pass can be converted, and nothing else can."""
    found = list(table_faults(Config, table))
    try:
        msgspec.convert(table, Config, dec_hook=path_of)
    except msgspec.ValidationError:
        assert found
    else:
        assert not found


def test_a_file_that_others_can_write_is_not_read(tmp_path: Path) -> None:
    """Whoever writes the configuration decides where the secrets go."""
    path = tmp_path / "config.toml"
    path.write_text(FIRST_USERS_FILE)
    path.chmod(0o640)
    assert load_config(path, {"RUST_LOG": "debug"}).logging.level == "debug"
    path.chmod(0o660)
    with pytest.raises(UnsafeFile):
        load_config(path, {})


def test_problems_are_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    """The file is named as it is called, since there may be several."""
    path = tmp_path / "second.toml"
    path.write_text("x = 1")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"^second\.toml: x: unknown key"):
        load_config(path, {})


def test_dev_keeps_to_the_users_own_directories() -> None:
    """State and socket are where the XDG specification puts them, and only the user can connect."""
    environ = {"XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/h"}
    setup = dev_config(environ, 7)
    assert setup.config.paths.vault_path == Path("/s/jarvis-secretsd/vault.json")
    assert setup.config.server.unix_path == Path("/run/user/7/jarvis/secretsd.sock")
    assert setup.config.server.permissions == 0o600
    assert setup.config.server.tcp is None
    assert setup.directories == (Path("/s/jarvis-secretsd"), Path("/run/user/7/jarvis"))


def test_dev_does_without_the_xdg_variables() -> None:
    """A bare login or a relative directory falls back to the home directory."""
    setup = dev_config({"HOME": "/h", "XDG_RUNTIME_DIR": "run", "RUST_LOG": "debug"}, 7)
    state = Path("/h/.local/state/jarvis-secretsd")
    assert setup.config.paths.audit_path == state / "audit.jsonl"
    assert setup.config.server.unix_path == state / "jarvis/secretsd.sock"
    assert setup.config.logging.level == "debug"


@pytest.mark.parametrize("environ", [{}, {"HOME": "relative"}, {"HOME": "/" + "x" * 120}])
def test_dev_says_what_it_lacks(environ: dict[str, str]) -> None:
    """No home, or one too deep for a socket, is told before anything is made."""
    with pytest.raises(ConfigurationError, match=r"^--dev: "):
        dev_config(environ, 7)


@pytest.mark.parametrize("uid", [0, 4711])
def test_dev_makes_its_user_admin_and_nobody_else(uid: int) -> None:
    """The embedded policy loads, and binds exactly the user who started the daemon."""
    text = dev_config({"HOME": "/h"}, uid).policy
    policy = load_policy(text.encode(), source="dev", own_uid=uid)
    (client,) = policy.candidates(Peer(Transport.UNIX, uid))
    assert client.id == ClientId("admin")
    assert policy.decide(client, Permission.ADMIN, None).allowed
    assert not policy.knows(Peer(Transport.UNIX, uid + 1))

"""What no single setting shows: settings that contradict one another, or that can't work here."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from jarvis_secretsd.daemon.addresses import MAX_SOCKET_PATH, UNIX_PREFIX, parse_tcp
from jarvis_secretsd.daemon.config import DEFAULT_CREDENTIALS, DEFAULT_SOCKET, Config, ServerConfig
from jarvis_secretsd.daemon.configtable import Fault


def contradictions(config: Config, broken: Collection[str] = ()) -> Iterator[Fault]:
    """Each contradiction between settings, but nothing about sections that are `broken`."""
    for sections, rule in _RULES:
        if not set(sections).intersection(broken):
            yield from rule(config)


def _listener_faults(config: Config) -> Iterator[Fault]:
    server = config.server
    if server.bind_addr.startswith(UNIX_PREFIX):
        yield from _unix_bind_faults(server)
    elif server.bind_addr:
        try:
            parse_tcp(server.bind_addr)
        except ValueError as error:
            yield Fault("server.bind_addr", str(error))
    elif not server.allow_unix_socket:
        yield Fault(
            "server",
            'listens nowhere; write allow_unix_socket = true or bind_addr = "127.0.0.1:8081"',
        )


def _unix_bind_faults(server: ServerConfig) -> Iterator[Fault]:
    path = server.bind_addr.removeprefix(UNIX_PREFIX)
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        text = (
            f'expected an absolute path after unix://; write bind_addr = "unix://{DEFAULT_SOCKET}"'
        )
        yield Fault("server.bind_addr", text)
    if not server.allow_unix_socket:
        text = "is a Unix socket, and allow_unix_socket = false forbids one; write true, or IP:PORT"
        yield Fault("server.bind_addr", text)
    if server.socket_path not in (DEFAULT_SOCKET, Path(path)):
        text = "is another Unix socket than socket_path; write only one of them"
        yield Fault("server.bind_addr", text)


def _socket_path_faults(config: Config) -> Iterator[Fault]:
    server = config.server
    for key, path, example in (
        ("server.socket_path", server.unix_path, DEFAULT_SOCKET),
        ("server.credentials_path", server.credentials_path, DEFAULT_CREDENTIALS),
    ):
        length = len(os.fsencode(path or ""))
        if length > MAX_SOCKET_PATH:
            yield Fault(
                key,
                f"a socket's path is at most {MAX_SOCKET_PATH} bytes, this one has {length};"
                f' write a shorter one, as "{example}"',
            )


def _credentials_faults(config: Config) -> Iterator[Fault]:
    path, shared = config.server.credentials_path, config.server.unix_path
    if path and shared and path != shared and path.parent == shared.parent:
        yield Fault(
            "server.credentials_path",
            f"{path.parent} is also the directory of server.socket_path, which containers mount;"
            f' write a directory of its own, as "{DEFAULT_CREDENTIALS}"',
        )


def _remote_faults(config: Config) -> Iterator[Fault]:
    try:
        address = config.server.tcp
    except ValueError:
        return  # _listener_faults says it
    if address and config.security.deny_network_remote and not address.is_loopback:
        yield Fault(
            "server.bind_addr",
            f"other machines may reach {address}, which security.deny_network_remote = true"
            f' forbids; write bind_addr = "127.0.0.1:{address.port}"',
        )


def _grace_faults(config: Config) -> Iterator[Fault]:
    days, grace = config.security.rotation_days, config.security.grace_days
    if grace > days:
        yield Fault(
            "security.grace_days",
            f"{grace} days of grace outlast rotation_days = {days}, so old versions would pile up;"
            f" write grace_days = {days} or less",
        )


def _path_faults(config: Config) -> Iterator[Fault]:
    paths = config.paths
    places = {
        "paths.vault_path": paths.vault_path,
        "paths.master_key_path": paths.master_key_path,
        "paths.audit_path": paths.audit_path,
        "security.rbac_policy_path": config.security.rbac_policy_path,
        "server.socket_path": config.server.unix_path,
        "server.credentials_path": config.server.credentials_path,
        "the vault's lock": paths.lock_path,
        "the file of heads": paths.heads_path,
        "the audit log's signing key": paths.sign_key_path,
        "the audit log's public key": paths.sign_pub_path,
    }
    taken: dict[Path, str] = {}
    for key, path in places.items():
        other = taken.setdefault(path, key) if path else key
        if other != key:
            yield Fault(other, f"{path} is also {key}; give each a path of its own")


def _jwt_faults(config: Config) -> Iterator[Fault]:
    jwt = config.jwt
    if jwt.ttl_secs > jwt.max_ttl_secs:
        yield Fault(
            "jwt.ttl_secs",
            f"{jwt.ttl_secs} is more than max_ttl_secs allows;"
            f" write ttl_secs = {jwt.max_ttl_secs} or less",
        )


def _hook_faults(config: Config) -> Iterator[Fault]:
    for place, hook in enumerate(config.hooks):
        program = hook.command[0]
        if not program.startswith("/"):
            text = f"which {program!a} runs would depend on PATH; write the program's absolute path"
            yield Fault(f"hooks[{place}].command", text)


_RULES: tuple[tuple[tuple[str, ...], Callable[[Config], Iterator[Fault]]], ...] = (
    (("server",), _listener_faults),
    (("server",), _socket_path_faults),
    (("server",), _credentials_faults),
    (("server", "security"), _remote_faults),
    (("security",), _grace_faults),
    (("paths", "security", "server"), _path_faults),
    (("jwt",), _jwt_faults),
    (("hooks",), _hook_faults),
)
"""Each rule, after the sections that it reads."""

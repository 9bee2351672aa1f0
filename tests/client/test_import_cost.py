"""What a program pays for the line that imports the client."""

from __future__ import annotations

import subprocess
import sys

DAEMONS_ALONE = {"yaml", "nacl", "cryptography", "httptools", "structlog", "prometheus_client"}
COMMANDS_ALONE = {"click", "rich", "dotenv"}
LATER = {"msgspec", "socket", "asyncio", "logging", "hashlib", "urllib.parse", "subprocess"}


def _modules_after(statement: str) -> set[str]:
    program = f"{statement}; import sys; print(*sys.modules)"
    # -I and -S: what an environment's own start-up loads isn't ours
    path = next(entry for entry in sys.path if entry.endswith("site-packages"))
    setup = f"import sys; sys.path += [{path!r}, '.']; "
    done = subprocess.run(
        [sys.executable, "-S", "-c", setup + program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_import_loads_nothing_that_only_others_need() -> None:
    """No command line, crypto, YAML or HTTP; and no messages before the first question."""
    loaded = _modules_after("from jarvis_secretsd.client import SecretsClient, get_secret")
    assert not loaded & (DAEMONS_ALONE | COMMANDS_ALONE | LATER)
    assert not any(name.startswith("jarvis_secretsd.wire") for name in loaded)
    assert "jarvis_secretsd.messages" not in loaded


def test_the_first_question_loads_the_messages_and_no_more() -> None:
    """What speaks with the daemon over its socket needs neither URLs nor the kernel's netlink."""
    question = (
        "from jarvis_secretsd.client import SecretsClient, SecretsClientError\n"
        "try: SecretsClient('/nonexistent').get('p')\n"
        "except SecretsClientError: pass\n"
        "pass"
    )
    loaded = _modules_after(f"exec({question!r})")
    assert {"msgspec", "socket", "jarvis_secretsd.wire.codec"} <= loaded
    assert not loaded & (DAEMONS_ALONE | COMMANDS_ALONE)
    assert not loaded & {"jarvis_secretsd.client.url", "jarvis_secretsd.client.owner"}
    assert not loaded & {"asyncio", "jarvis_secretsd.client.watching"}

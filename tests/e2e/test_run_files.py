"""`jarvis-secrets run --files`: each secret is a file in memory, and none in the environment."""

from __future__ import annotations

import ast
import os
import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from jarvis_secretsd.client import SecretsClient
from tests.cli.terminal import PROGRAM
from tests.daemon_process import DaemonProcess
from tests.e2e.programs import LIMIT, PYTHON
from tests.e2e.tools import needs

HELD = {
    "postgres_password": b"p@$$w0rd ${HOME}",
    "app/key.pem": b"-----BEGIN\nline two\n-----END\n",
    "binary": bytes(range(256)) * 1024,  # 256 KiB, twice what a variable holds
    "empty": b"",
}

VARIABLES = {
    "POSTGRES_PASSWORD_FILE": "postgres_password",
    "APP_KEY_PEM_FILE": "app/key.pem",
    "BINARY_FILE": "binary",
    "EMPTY_FILE": "empty",
}

SHELLS = [pytest.param(each, marks=needs(each)) for each in ("sh", "dash", "bash", "zsh")]


@pytest.fixture
def environ(daemon: DaemonProcess) -> dict[str, str]:
    """An environment of a few variables, in which `run` finds a daemon that holds `HELD`."""
    with SecretsClient(str(daemon.socket_path), client_id="admin") as client:
        for name, data in HELD.items():
            client.put(name, data)
    return {
        "PATH": "/usr/bin:/bin",
        "JARVIS_SECRETS_SOCKET": str(daemon.socket_path),
        "JARVIS_CLIENT_ID": "admin",
    }


def run(environ: Mapping[str, str], *arguments: str, **more: object) -> bytes:
    """What a program prints under `run --files` with these arguments."""
    done = subprocess.run(  # type: ignore[call-overload]
        [*PROGRAM, "run", "--files", *arguments],
        env=environ, capture_output=True, check=False, timeout=LIMIT, **more,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    return bytes(done.stdout)


READ = """
import os
found = {k: v for k, v in os.environ.items() if k.endswith("_FILE")}
def read(path):
    with open(path, "rb") as file: return file.read()
print({name: (path, read(path) == read(path) and read(path)) for name, path in found.items()})
print(sorted(open("/proc/self/environ").read().split("\\0")))
"""


def test_every_byte_is_in_a_file_and_none_in_the_environment(environ: dict[str, str]) -> None:
    """Each variable is a path; every open of it reads the whole value, as it was put."""
    files, variables = map(
        ast.literal_eval, run(environ, "--", *PYTHON, READ).decode().split("\n", 1)
    )
    assert {name: value for name, (_, value) in files.items()} == {
        name: HELD[secret] for name, secret in VARIABLES.items()
    }
    expected = [f"{name}={value}" for name, value in environ.items()]
    expected += [f"{name}={path}" for name, (path, _) in files.items()]
    assert variables == sorted([*expected, ""])


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_and_what_they_start_read_it_again_and_again(
    environ: dict[str, str], shell: str
) -> None:
    """As the entrypoints of Docker images do: `$(cat "$X_FILE")`, and in a program of theirs."""
    script = (
        'cat "$EMPTY_FILE"; for i in 1 2; do v=$(cat "$POSTGRES_PASSWORD_FILE"); echo "$v"; done'
    )
    nested = f'{script}; exec {shell} -c \'read -r v <"$POSTGRES_PASSWORD_FILE"; echo "$v"\''
    assert run(environ, "--", shell, "-c", nested) == (HELD["postgres_password"] + b"\n") * 3


@needs("bash")
def test_the_entrypoint_of_the_postgres_image_reads_it(environ: dict[str, str]) -> None:
    """Its `file_env`, word for word."""
    script = """
        file_env() {
            local var="$1"; local fileVar="${var}_FILE"; local def="${2:-}"
            if [ "${!var:-}" ] && [ "${!fileVar:-}" ]; then exit 1; fi
            local val="$def"
            if [ "${!var:-}" ]; then val="${!var}"
            elif [ "${!fileVar:-}" ]; then val="$(< "${!fileVar}")"; fi
            export "$var"="$val"
            unset "$fileVar"
        }
        file_env POSTGRES_PASSWORD
        printf %s "$POSTGRES_PASSWORD"
    """
    assert run(environ, "--", "bash", "-c", script) == HELD["postgres_password"]


CHANGE = """
import errno, fcntl, os
path = os.environ["POSTGRES_PASSWORD_FILE"]
number = int(path.rpartition("/")[2])
def refused(act):
    try: act()
    except OSError as error: return errno.errorcode[error.errno]
print(number, oct(os.stat(path).st_mode & 0o777), os.readlink(path))
print(refused(lambda: os.write(number, b"x")), refused(lambda: os.truncate(number, 0)),
      refused(lambda: os.truncate(number, 1 << 20)),
      refused(lambda: fcntl.fcntl(number, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)))
print(os.read(number, 4))
"""


def test_nobody_can_change_it(environ: dict[str, str]) -> None:
    """It is sealed, can only be read, has no name, and its number is out of the way of shells."""
    first, second, third = run(environ, "--", *PYTHON, CHANGE).decode().splitlines()
    number, mode, name = first.split(" ", 2)
    assert (int(number) >= 100, mode, name) == (True, "0o444", "/memfd:secret (deleted)")
    assert second == "EPERM EPERM EPERM EPERM"
    assert third == repr(HELD["postgres_password"][:4])


def test_what_is_said_by_variable_is_a_file_under_that_name(
    environ: dict[str, str], tmp_path: os.PathLike[str]
) -> None:
    """--as and --env-file name the variable as it is to be; a plain value stays what it is."""
    path = os.path.join(tmp_path, "app.env")
    with open(path, "w", encoding="utf-8") as file:
        file.write("PGPASSFILE=jarvis://postgres_password\nLEVEL=info\n")
    script = 'cat "$PGPASSFILE" "$KEY"; echo "$LEVEL ${BINARY_FILE-none}"'
    shown = run(environ, "--env-file", path, "--as", "KEY=app/key.pem", "--", "sh", "-c", script)
    assert shown == HELD["postgres_password"] + HELD["app/key.pem"] + b"info none\n"


def test_many_secrets_have_a_file_each(daemon: DaemonProcess, environ: dict[str, str]) -> None:
    """Where the limit of open files doesn't allow that, nothing starts, and the remedy is told."""
    with SecretsClient(str(daemon.socket_path), client_id="admin") as client:
        for number in range(50):
            client.put(f"many/{number}", str(number))
    script = 'cat "$MANY_0_FILE" "$MANY_49_FILE"; echo; ls /proc/self/fd | wc -l'
    assert run(environ, "--", "sh", "-c", script).split() == [b"049", b"58"]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))

    done = subprocess.run(
        [*PROGRAM, "run", "--files", "--", "echo", "started"],
        env=environ, capture_output=True, check=False, timeout=LIMIT, preexec_fn=limited,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"`ulimit -n`" in done.stderr


def test_a_program_that_closes_what_it_inherits_loses_it(environ: dict[str, str]) -> None:
    """Then the path leads nowhere, which the help says."""
    script = (
        "import os; os.closerange(3, 1024);"
        "print(os.path.exists(os.environ['POSTGRES_PASSWORD_FILE']))"
    )
    assert run(environ, "--", *PYTHON, script) == b"False\n"
    explained = subprocess.check_output([*PROGRAM, "run", "--help"], env=environ).decode()
    assert "closes inherited descriptors" in " ".join(explained.split())


@pytest.mark.root("becomes another user")
@needs("setpriv")
def test_a_program_that_becomes_another_user_keeps_it(environ: dict[str, str]) -> None:
    """Through setpriv and a shell, also as a user who may read nothing of ours by name."""
    script = 'id -u; cat "$POSTGRES_PASSWORD_FILE"; cat "$POSTGRES_PASSWORD_FILE"'
    drop = ("setpriv", "--reuid=64001", "--regid=64001", "--clear-groups", "--bounding-set=-all")
    shown = run(environ, "--", *drop, "sh", "-c", script)
    assert shown == b"64001\n" + HELD["postgres_password"] * 2


@pytest.mark.root("looks at a process as another user")
@needs("setpriv")
def test_no_other_user_reaches_it(environ: dict[str, str]) -> None:
    """It is open to whoever inherited it, and to nobody else who isn't root."""
    with subprocess.Popen(
        [*PROGRAM, "run", "--files", "--", *PYTHON,
         "import os; print(os.environ['POSTGRES_PASSWORD_FILE'], flush=True); input()"],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        number = process.stdout.readline().decode().strip().rpartition("/")[2]
        path = f"/proc/{process.pid}/fd/{number}"
        assert Path(path).read_bytes() == HELD["postgres_password"]  # root may
        stranger = ("setpriv", "--reuid=64001", "--regid=64001", "--clear-groups", "cat", path)
        refused = subprocess.run(stranger, capture_output=True, check=False, timeout=LIMIT)
        process.communicate(b"\n", LIMIT)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"Permission denied" in refused.stderr


def test_each_start_has_files_of_its_own(daemon: DaemonProcess, environ: dict[str, str]) -> None:
    """With --watch the new program reads the new value, and nothing is left of the old one's."""
    script = 'cat "$POSTGRES_PASSWORD_FILE"; echo; ls /proc/self/fd | wc -l; exec sleep 60'
    with (
        SecretsClient(str(daemon.socket_path), client_id="admin") as client,
        subprocess.Popen(
            [*PROGRAM, "run", "--files", "--watch", "--", "sh", "-c", script],
            env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process,
    ):  # fmt: skip
        assert process.stdout
        try:
            assert process.stdout.readline().rstrip() == HELD["postgres_password"]
            descriptors = process.stdout.readline()
            for value in ("new", "newer"):
                client.put("postgres_password", value)
                assert process.stdout.readline().decode() == f"{value}\n"
                assert process.stdout.readline() == descriptors
        finally:
            process.terminate()

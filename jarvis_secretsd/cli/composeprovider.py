"""`docker-jarvis`: secrets as variables of Docker Compose's services.

A provider of Compose (docker/compose, docs/extension.md): a command on the command line, JSON
messages on stdout, a line each. Compose puts the provider's service and `_` before the name of a
variable that comes by `setenv`; one that comes by `rawsetenv`, which not every Compose knows, it
takes as it is. Where it lies among Docker's plugins, it also answers as one of those.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct, json

from jarvis_secretsd import __version__
from jarvis_secretsd.cli.credentials.store import write_output
from jarvis_secretsd.cli.exits import Exit, Refused, explain, status_of
from jarvis_secretsd.cli.handing import MAX_ENVIRONMENT_STRING
from jarvis_secretsd.cli.naming import parse_renamings
from jarvis_secretsd.cli.output import counted, printable
from jarvis_secretsd.cli.steering import is_steering
from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.errors import SecretsError
from jarvis_secretsd.messages import Found, Get
from jarvis_secretsd.values import SecretName

PROGRAM = "docker-jarvis"

FOR_DOCKER = {
    "SchemaVersion": "0.1.0",
    "Vendor": "jarvis-secretsd",
    "Version": __version__,
    "ShortDescription": "Secrets for the services of Docker Compose",
}
"""What a plugin of the Docker CLI says about itself."""

_PARAMETERS = (
    ("secrets", "string", "NAME or VAR=NAME, or a list of them: the secrets", None),
    ("client", "string", "the client of the policy to be", ""),
    ("socket", "string", "the daemon's socket", ""),
    ("prefix", "boolean", "whether the service's name stands before each variable", "true"),
)

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Message(Struct, frozen=True):
    """What Compose is told, a line of JSON. Values go into `setenv` and `rawsetenv` alone."""

    type: str
    message: str


class Call(NamedTuple):
    """What Compose asks for: a command, for a service, with the options that its file has."""

    command: str
    service: str
    options: Mapping[str, Sequence[str]]


class Variable(NamedTuple):
    """A secret, the variable as it is sent, and as the containers will have it."""

    sent: str
    name: SecretName
    final: str


def main() -> None:
    """The program."""
    sys.exit(run_provider(sys.argv[1:]))


def run_provider(arguments: Sequence[str]) -> int:
    """One command of Compose's, or of the Docker CLI's."""
    match arguments:
        case ["docker-cli-plugin-metadata"]:
            write_output(_line(FOR_DOCKER))
        case ["compose", "metadata"]:
            write_output(_line(_metadata()))
        case ["compose", *rest]:
            return _obey(rest)
        case _:
            print(
                f"{PROGRAM}: this is for Docker Compose, as the type of a service's provider; "
                "people use `jarvis-secrets`",
                file=sys.stderr,
            )
            return Exit.USAGE
    return Exit.OK


def _obey(arguments: Sequence[str]) -> int:
    """One command; nothing is sent before all is known to be right."""
    try:
        write_output("".join(map(_line, [*_act(_parse(arguments))])))
    except (SecretsClientError, SecretsError) as error:
        write_output(_line(Message("error", printable(explain(error)))))
        return status_of(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.OK


def _parse(arguments: Sequence[str]) -> Call:
    """`--project-name NAME up --secrets=db/main --secrets=key app`, options anywhere."""
    words: list[str] = []
    options: dict[str, list[str]] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            words.append(argument)
        elif equals:
            options.setdefault(name, []).append(value)
        else:
            options.setdefault(name, []).append(next(rest, ""))
    match words:
        case [command, service]:
            return Call(command, service, options)
    raise Refused(
        f"Usage: {PROGRAM} compose --project-name NAME <up|down|stop> OPTIONS SERVICE", Exit.USAGE
    )


def _act(call: Call) -> Iterator[Message]:
    match call.command:
        case "up":
            yield from _up(call)
        case "down" | "stop":  # there is nothing that would have to be given back
            return
        case other:
            raise Refused(f"{other!r} is not a command of a provider", Exit.USAGE)


def _up(call: Call) -> Iterator[Message]:
    known = {"project-name", *(name for name, *_ in _PARAMETERS)}
    if unknown := sorted(call.options.keys() - known):
        raise Refused(f"there is no option {unknown[0]!r}: use {_listed()}", Exit.USAGE)
    is_prefixed = _truth(_single(call, "prefix") or "true")
    wanted = _variables(call, f"{call.service.upper()}_" if is_prefixed else "")
    with SecretsClient(_single(call, "socket"), None, _single(call, "client")) as client:
        found = client.ask_all([Get(each.name) for each in wanted], Found)
    texts = [_text(each, answer) for each, answer in zip(wanted, found, strict=True)]
    kind = "setenv" if is_prefixed else "rawsetenv"
    for each, text in zip(wanted, texts, strict=True):
        yield Message(kind, f"{each.sent}={text}")
    names = ", ".join(each.final for each in wanted)
    yield Message("info", f"{counted(len(wanted), 'secret')}: {names}")


def _variables(call: Call, prefix: str) -> list[Variable]:
    """What `secrets` asks for, each a variable of its own that no program is steered by."""
    try:
        pairs = parse_renamings(map(_with_variable, _words(call)))
    except ValueError as error:
        raise Refused(f"secrets: {error}", Exit.USAGE) from None
    if not pairs:
        raise Refused("the option `secrets` says nothing: name secrets there", Exit.USAGE)
    variables = [Variable(sent, name, prefix + sent) for sent, name in pairs]
    for each in variables:
        if is_steering(each.final):
            raise Refused(f"{each.name}: the variable {each.final} steers programs; use another")
    return variables


def _words(call: Call) -> list[str]:
    """Also a list in one text: the first versions of Compose with providers take no other."""
    return re.findall(r"[^\s,]+", " ".join(call.options.get("secrets", ())))


def _with_variable(word: str) -> str:
    return word if "=" in word else f"{SecretName(word).variable}={word}"


def _text(wanted: Variable, answer: Found | SecretsClientError) -> str:
    """The value, if a variable can hold it."""
    if isinstance(answer, SecretsClientError):
        answer.add_note(wanted.name)
        raise answer
    text = _decoded(answer.value.reveal())
    if text is None or "\0" in text:
        raise Refused(f"{wanted.name} holds bytes that no variable can; hand it over as a file")
    if len(wanted.final) + len(answer.value) + len("=\0") > MAX_ENVIRONMENT_STRING:
        raise Refused(f"{wanted.name} is too large for a variable; hand it over as a file")
    return text


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:  # it holds the value, so it must not be the context of an error
        return None


def _single(call: Call, name: str) -> str | None:
    given = call.options.get(name, ())
    if len(given) > 1:
        raise Refused(f"the option {name!r} is given {len(given)} times", Exit.USAGE)
    return given[0] or None if given else None


def _truth(text: str) -> bool:
    found = _TRUTH.get(text.lower())
    if found is None:
        raise Refused(f"the option 'prefix' is true or false, not {text!r}", Exit.USAGE)
    return found


def _listed() -> str:
    return ", ".join(name for name, *_ in _PARAMETERS)


def _metadata() -> dict[str, Any]:
    """What Compose passes on: it drops every option that isn't here, and asks for the first."""
    up = [
        {"name": name, "description": what, "type": kind, "required": default is None}
        | ({"default": default} if default else {})
        for name, kind, what, default in _PARAMETERS
    ]
    return {
        "description": FOR_DOCKER["ShortDescription"],
        "up": {"parameters": up},
        "down": {"parameters": []},
    }


def _line(what: Any) -> str:
    return json.encode(what).decode() + "\n"

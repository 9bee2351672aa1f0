"""The house keeps its rules, and each rule is seen to fail when it is broken."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests import house_rules as rules
from tests.house_rules import RULES, Module, Rule

ROOT = Path(__file__).parent.parent
HOUSE = tuple(rules.modules_under(ROOT))

BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (rules.imports_point_down, "wire.codec", "from jarvis_secretsd.domain import policy"),
    (rules.imports_point_down, "wire.codec", "from jarvis_secretsd import domain"),
    (rules.imports_point_down, "wire.codec", "import jarvis_secretsd.daemon.loop as loop"),
    (rules.imports_point_down, "wire.codec", "from ..domain.policy import Policy"),
    (rules.imports_point_down, "wire.codec", "from .. import domain"),
    (rules.imports_point_down, "domain.policy", "def f():\n    from jarvis_secretsd import wire"),
    (rules.imports_point_down, "daemon.app", "from jarvis_secretsd.client import SecretsClient"),
    (rules.imports_point_down, "client", "if TYPE_CHECKING:\n    import jarvis_secretsd.daemon"),
    (rules.imports_point_down, "client", "from .daemon import loop"),
    (rules.imports_point_down, "daemon.app", "from jarvis_secretsd.cli.user import main"),
    (rules.imports_point_down, "errors", "from jarvis_secretsd.values import Kid"),
    (rules.imports_point_down, "values", "from jarvis_secretsd.messages import Get"),
    (rules.imports_point_down, "messages", "from jarvis_secretsd.wire.codec import decode"),
    (rules.imports_point_down, "attic", "x = 1"),
    (rules.imports_point_down, "wire.codec", "from jarvis_secretsd.attic import x"),
    (rules.pure_rooms_stay_pure, "wire.codec", "import socket"),
    (rules.pure_rooms_stay_pure, "domain.service", "def f():\n    import os.path"),
    (rules.pure_rooms_stay_pure, "domain.service", "from time import monotonic"),
    (rules.pure_rooms_stay_pure, "domain.service", "import random"),
    (rules.pure_rooms_stay_pure, "domain.service", "import secrets"),
    (rules.pure_rooms_stay_pure, "values", "import threading"),
    (rules.pure_rooms_stay_pure, "wire.http", "import selectors"),
    (rules.pure_rooms_stay_pure, "wire.http", "import subprocess"),
    (rules.pure_rooms_stay_pure, "messages", "from pathlib import Path"),
    (rules.pure_rooms_stay_pure, "domain.audit", "import urllib.request"),
    (rules.pure_rooms_stay_pure, "domain.audit", "from urllib import request"),
    (rules.pure_rooms_stay_pure, "domain.rotation", "t = datetime.now(UTC)"),
    (rules.pure_rooms_stay_pure, "domain.rotation", "t = datetime.datetime.utcnow()"),
    (rules.pure_rooms_stay_pure, "domain.vault", "with open('x') as f: pass"),
    (rules.dangerous_imports_stay_home, "daemon.app", "import nacl.secret"),
    (rules.dangerous_imports_stay_home, "daemon.keyshop", "import nacl"),
    (rules.dangerous_imports_stay_home, "daemon.app", "from cryptography import x509"),
    (rules.dangerous_imports_stay_home, "daemon.config", "import yaml"),
    (rules.dangerous_imports_stay_home, "wire.conversation", "from httptools import parser"),
    (rules.dangerous_imports_stay_home, "daemon.connection", "import selectors"),
    (rules.dangerous_imports_stay_home, "daemon.app", "import subprocess"),
    (rules.dangerous_imports_stay_home, "cli.user", "def f():\n    from subprocess import run"),
    (rules.dangerous_imports_stay_home, "daemon.peers", "import ctypes"),
    (rules.dangerous_imports_stay_home, "daemon.app", "import pickle"),
    (rules.dangerous_imports_stay_home, "daemon.app", "import marshal"),
    (rules.dangerous_imports_stay_home, "daemon.app", "import shelve"),
    (rules.dangerous_imports_stay_home, "daemon.app", "from multiprocessing import Pool"),
    (rules.dangerous_imports_stay_home, "daemon.app", "eval('1')"),
    (rules.dangerous_imports_stay_home, "daemon.app", "builtins.exec('1')"),
    (rules.dangerous_imports_stay_home, "daemon.app", "__import__('pickle')"),
    (rules.dangerous_imports_stay_home, "daemon.app", "importlib.import_module('pickle')"),
    (rules.modules_are_short, "daemon.app", "x = 1\n" * 400),
    (rules.no_dispatch_by_made_up_name, "daemon.app", "getattr(self, f'do_{op}')()"),
    (rules.no_dispatch_by_made_up_name, "daemon.app", "getattr(self, 'do_' + op)()"),
    (rules.no_dispatch_by_made_up_name, "daemon.app", "setattr(self, '_{}'.format(op), 1)"),
    (rules.no_swallowed_exceptions, "daemon.app", "try: f()\nexcept Exception: pass"),
    (rules.no_swallowed_exceptions, "daemon.app", "try: f()\nexcept: ..."),
    (rules.no_swallowed_exceptions, "daemon.app", "try: f()\nexcept (OSError, Exception): pass"),
    (rules.no_swallowed_exceptions, "daemon.app", "with suppress(BaseException): f()"),
    (rules.no_dumping_grounds, "daemon.utils", "x = 1"),
    (rules.no_dumping_grounds, "helpers.text", "x = 1"),
    (rules.public_names_say_what_they_promise, "daemon.app", "x = 1"),
    (rules.public_names_say_what_they_promise, "daemon.app", "'''App.'''\ndef run(): ..."),
    (rules.public_names_say_what_they_promise, "daemon.app", "'''App.'''\nclass App: ..."),
    (
        rules.public_names_say_what_they_promise,
        "daemon.app",
        "'''App.'''\nclass App:\n    '''It.'''\n    def run(self): ...",
    ),
)

SOUND = '''
    """A module that touches every rule and breaks none."""

    from __future__ import annotations

    import hashlib
    from datetime import datetime
    from urllib.parse import unquote

    import msgspec

    from jarvis_secretsd import __version__, errors
    from jarvis_secretsd.values import SecretName
    from . import frames
    from .frames import pack


    class Sink(Protocol):
        """Takes what is read."""

        def take(self, data: bytes) -> None: ...


    class Reader:
        """It reads."""

        def __init__(self) -> None:
            self.run = getattr(self, "read", None)

        @property
        def now(self) -> datetime:
            """The time that was given."""
            return self._now

        @now.setter
        def now(self, value: datetime) -> None:
            self._now = value


    def _private():
        try:
            return Reader().now
        except Exception:
            raise
'''


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rule(rule: Rule) -> None:
    """No module of the program breaks this rule."""
    assert [breach for module in HOUSE for breach in rule(module)] == []


@pytest.mark.parametrize(("rule", "name", "source"), BROKEN)
def test_a_broken_rule_is_found(rule: Rule, name: str, source: str) -> None:
    """A source that breaks a rule is named together with what is wrong."""
    breaches = list(rule(Module(f"jarvis_secretsd.{name}", source)))
    assert breaches and all(f"jarvis_secretsd.{name}" in breach for breach in breaches)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_sound_module_breaks_no_rule(rule: Rule) -> None:
    """A rule that is kept finds nothing to say."""
    assert list(rule(Module("jarvis_secretsd.wire.codec", dedent(SOUND)))) == []


def test_every_rule_was_seen_to_fail() -> None:
    """There is a broken source for each rule."""
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_a_package_resolves_its_own_relative_imports() -> None:
    """In `wire/__init__.py` one dot is `wire`, two are the package."""
    room = Module(
        "jarvis_secretsd.wire", "from . import frames\nfrom ..domain import x", is_package=True
    )
    assert [target for _, target in room.imports()] == [
        "jarvis_secretsd.wire.frames",
        "jarvis_secretsd.domain.x",
    ]


def test_the_rules_read_the_whole_house() -> None:
    """The modules of every floor are among those that are judged."""
    rooms = {module.room for module in HOUSE}
    assert {"", "errors", "values", "messages", "wire", "domain", "daemon", "cli"} <= rooms

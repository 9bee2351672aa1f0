"""The rules of the house, each a function from one module's source to the breaches in it.

They read source text and never import it, so an import inside a function or under TYPE_CHECKING
counts like any other.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

PACKAGE = "jarvis_secretsd"

_GROUND = frozenset({"", "errors", "values", "messages"})
_FIRST = _GROUND | {"wire", "domain"}
BELOW: dict[str, frozenset[str]] = {
    "": frozenset(),
    "errors": frozenset({""}),
    "values": frozenset({"", "errors"}),
    "messages": frozenset({"", "errors", "values"}),
    "wire": _GROUND,
    "domain": _GROUND,
    "client": _FIRST,
    "daemon": _FIRST,
    "cli": _FIRST | {"client", "daemon"},
}
"""What each room may import besides itself; "" is the package's own `__init__`."""

PURE_ROOMS = _FIRST

_PURE_LIBRARIES = """
    __future__ abc base64 binascii bisect calendar collections copy dataclasses datetime enum
    functools hashlib heapq hmac httptools ipaddress itertools json math msgspec operator re
    string struct types typing unicodedata urllib.parse
"""
PURE_LIBRARIES = frozenset(_PURE_LIBRARIES.split())
"""What a pure room may import. What isn't listed may hold a socket, a file, a clock or chance."""

IMPURE_CALLS = frozenset({"open", "print", "input", "now", "utcnow", "today"})
"""Calls, as a name or as a method, that read the clock or touch a file."""

HOMES: dict[str, tuple[str, ...]] = {
    "nacl": ("daemon.keys",),
    "cryptography": ("daemon.keys",),
    "yaml": ("daemon.policyfile", "cli.inventory.composefile"),
    "httptools": ("wire.http",),
    "selectors": ("daemon.loop",),
    "prometheus_client": ("daemon",),
    "structlog": ("daemon", "cli"),
    "click": ("cli",),
    "rich": ("cli",),
    "asyncio": ("client",),
    "pydantic": ("client.settings",),
    "pydantic_settings": ("client.settings",),
    "keyring": ("client.keyringbackend",),
    "psycopg": ("cli.hooks",),
    "subprocess": ("daemon.hookprocess", "daemon.unitmanager", "cli.inventory.gitrecord"),
    "multiprocessing": (),
    "pickle": (),
    "marshal": (),
    "shelve": (),
    "ctypes": ("daemon.hardening", "daemon.clocksync"),
}
"""Where a dangerous or heavy import lives; a home is a module or a package. No home: banned."""

BANNED_CALLS = frozenset({"eval", "exec", "__import__", "import_module"})
"""Ways to run text, or to import what no reader of the imports sees."""

DUMPING_GROUNDS = frozenset({"utils", "util", "helpers", "common", "misc"})

MAX_LINES = 400
"""A module is read in one sitting."""


class Module:
    """One module of the program: its dotted name and its source."""

    def __init__(self, name: str, source: str, *, is_package: bool = False) -> None:
        self.name = name
        self.source = source
        self.is_package = is_package

    @property
    def room(self) -> str:
        """The part of the house: `wire` for `jarvis_secretsd.wire.codec`."""
        return _room(self.name)

    @property
    def inner_name(self) -> str:
        """The name below the package: `wire.codec`."""
        return self.name.partition(".")[2]

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the syntax tree, parents before children."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.source)

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and full dotted target of every import, relative ones resolved."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Every call with the last part of the name that is called."""
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield node, _last_name(node.func)

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        keep = len(parts) - node.level + self.is_package
        return ".".join(parts[:keep] + ([node.module] if node.module else []))


Rule = Callable[[Module], Iterator[str]]


def imports_point_down(module: Module) -> Iterator[str]:
    """A room imports itself and the floors below it; rooms of one floor don't know each other."""
    if module.room not in BELOW:
        yield f"{module.name} stands in no room of the house"
        return
    for line, target in module.imports():
        if not _is_within(target, PACKAGE):
            continue
        room = _room(target)
        # `from jarvis_secretsd import x`: x is a room, or a name of the package itself
        room = room if room in BELOW or target.count(".") > 1 else ""
        if room != module.room and room not in BELOW[module.room]:
            yield f"{_at(module, line)} {module.room} must not know {room}"


def pure_rooms_stay_pure(module: Module) -> Iterator[str]:
    """The pure rooms import nothing that can hold a socket, file, clock, thread or chance."""
    if module.room not in PURE_ROOMS:
        return
    for line, target in module.imports():
        if not _is_within(target, PACKAGE, *PURE_LIBRARIES):
            yield f"{_at(module, line)} {target} isn't known to be pure"
    for call, name in module.calls():
        if name in IMPURE_CALLS:
            yield f"{_at(module, call.lineno)} {name}() in a pure room; take it as an argument"


def dangerous_imports_stay_home(module: Module) -> Iterator[str]:
    """A dangerous import has one home, and what runs text has none."""
    for line, target in module.imports():
        library = target.partition(".")[0]
        homes = HOMES.get(library)
        if homes is not None and not _is_within(module.inner_name, *homes):
            where = " or ".join(homes) or "nowhere"
            yield f"{_at(module, line)} {library} belongs in {where}"
    for call, name in module.calls():
        if name in BANNED_CALLS and not _is_method_of_ours(call, name):
            yield f"{_at(module, call.lineno)} {name}() is banned"


def modules_are_short(module: Module) -> Iterator[str]:
    """No module reaches 400 lines."""
    lines = len(module.source.splitlines())
    if lines >= MAX_LINES:
        yield f"{module.name} has {lines} lines, fewer than {MAX_LINES} are allowed"


def no_dispatch_by_made_up_name(module: Module) -> Iterator[str]:
    """No attribute is looked up by a name put together at run time: grep wouldn't find it."""
    made_up = ast.JoinedStr | ast.BinOp | ast.Call
    for call, name in module.calls():
        if name in {"getattr", "setattr"} and isinstance(call.args[1], made_up):
            yield f"{_at(module, call.lineno)} {name}() with a name made at run time"


def no_swallowed_exceptions(module: Module) -> Iterator[str]:
    """Nothing catches every exception and goes on as if nothing had been."""
    for node in module.nodes:
        if not isinstance(node, ast.ExceptHandler) or not _catches_all(node.type):
            continue
        if all(_does_nothing(line) for line in node.body):
            yield f"{_at(module, node.lineno)} catches every exception and drops it"
    for call, name in module.calls():
        if name == "suppress" and any(_catches_all(argument) for argument in call.args):
            yield f"{_at(module, call.lineno)} suppresses every exception"


def no_dumping_grounds(module: Module) -> Iterator[str]:
    """No module is named for having no subject."""
    for part in module.name.split("."):
        if part in DUMPING_GROUNDS:
            yield f"{module.name}: name a module for what it is about, not {part!r}"


def public_names_say_what_they_promise(module: Module) -> Iterator[str]:
    """Every module, and every public class, function and method in it, has a docstring.

    A Protocol's own docstring speaks for its members.
    """
    if module.source.strip() and ast.get_docstring(module.tree) is None:
        yield f"{module.name} has no docstring"
    yield from _undocumented(module, module.tree.body)


RULES: tuple[Rule, ...] = (
    imports_point_down,
    pure_rooms_stay_pure,
    dangerous_imports_stay_home,
    modules_are_short,
    no_dispatch_by_made_up_name,
    no_swallowed_exceptions,
    no_dumping_grounds,
    public_names_say_what_they_promise,
)


def modules_under(root: Path) -> Iterator[Module]:
    """Every module of the package that lies in the directory `root`."""
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        yield Module(name, path.read_text(), is_package=is_package)


def _undocumented(module: Module, body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or _is_spoken_for(node):
            continue
        if ast.get_docstring(node) is None:
            yield f"{_at(module, node.lineno)} {node.name} has no docstring"
        if isinstance(node, ast.ClassDef) and not _is_protocol(node):
            yield from _undocumented(module, node.body)


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(_last_name(base) == "Protocol" for base in node.bases)


def _is_spoken_for(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Overloads and setters are described where their function or getter is."""
    names = {_last_name(decorator) for decorator in node.decorator_list}
    return bool(names & {"overload", "setter", "override"})


def _catches_all(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(_catches_all(one) for one in caught.elts)
    return caught is None or _last_name(caught) in {"Exception", "BaseException"}


def _does_nothing(line: ast.stmt) -> bool:
    if isinstance(line, ast.Expr):
        return isinstance(line.value, ast.Constant)
    return isinstance(line, ast.Pass | ast.Continue)


def _is_method_of_ours(call: ast.Call, name: str) -> bool:
    """`codec.exec(...)` is somebody's method; `builtins.exec` and `importlib.import_module` not."""
    if not isinstance(call.func, ast.Attribute):
        return False
    return name != "import_module" and _last_name(call.func.value) != "builtins"


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return ""


def _room(name: str) -> str:
    return [*name.split("."), ""][1]


def _is_within(name: str, *owners: str) -> bool:
    return any(name == owner or name.startswith(f"{owner}.") for owner in owners)


def _at(module: Module, line: int) -> str:
    return f"{module.name}:{line}:"

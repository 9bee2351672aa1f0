"""The dialect `shell`: what bash makes of `set -a; . FILE`, without running anything.

Assignments, quotes, backslashes and references are read as bash does. What would run a command,
or needs something of the shell itself, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from jarvis_secretsd.cli.envfile.references import MAX_DEPTH, Reference, fill_in
from jarvis_secretsd.cli.envfile.scanning import BODY, Cursor, scan, swallowed
from jarvis_secretsd.cli.envfile.words import Fault, Remark, Setting

_BASH_OWN = """
    _ BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_COMMAND
    BASH_COMPAT BASH_LINENO BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO BASH_XTRACEFD COMP_WORDBREAKS
    DIRSTACK EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD LINENO OPTIND PIPESTATUS
    POSIXLY_CORRECT PPID RANDOM SECONDS SHELLOPTS SHLVL SRANDOM UID
"""
BASH_OWN = frozenset(_BASH_OWN.split())
"""Variables that don't keep, or don't pass on, what is assigned to them in bash."""

_EXPORT = re.compile(r"[ \t]*export(?:[ \t]|\\\n)+")
_HEAD = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_BARE_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?=[ \t\n]|\Z)")
_GAP = re.compile(r"(?:[ \t]|\\\n)*")
_END = re.compile(r"(?:#[^\n]*)?(?:\n|\Z)")
_JOIN = re.compile(r"\\\n")
_ESCAPED = re.compile(r"\\([^\n\x01\x7f])")
_NAME = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_TORN = re.compile(r"\$[A-Za-z0-9_]*\\\n")
_OPEN = re.compile(r"\$\{")
_BRACED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(?P<close>\})|(?P<operator>:?[-?+]))")
_COMMAND = re.compile(r"\$[(\[]|`")
_SHELL_OWN = re.compile(r"\$[0-9@*#?$!\x01\x7f-]")
_ANSI = re.compile(r"\$['\"]")
_DOLLAR = re.compile(r"\$")
_BACKSLASH = re.compile(r"\\(?![\x01\x7f])")
_QUOTE = re.compile(r"['\"]")
_ANY = re.compile(r".")

_BEFORE_JSON_STRING = ("{", "[", ":", ",")

_QUOTE_IT = "put the value in single quotes"
_NO_END = "a '${' is not closed on its line"
_OTHERWISE = f"{_QUOTE_IT} if a dollar is meant"


class _Unquoted:
    """What may stand outside of quotes: `plain` as it is, up to `end`."""

    def __init__(self, special: str, end: str) -> None:
        # bash fills in a home for '~' at the start, after ':' and in odder places
        self.plain = re.compile(rf"(?:[^{special}\n'\"\\$`;&|<>()~]|(?<=[\w./])~)+")
        self.end = re.compile(end)


class _Quoted:
    """What may stand in double quotes: `plain` as it is, `escaped` behind a backslash, to `end`."""

    def __init__(self, special: str, end: str, escapable: str = "") -> None:
        self.plain = re.compile(rf"[^{special}\"\\$`]+")
        self.escaped = re.compile(rf"\\([$`\"\\{escapable}])")
        self.end = re.compile(end)


_WORD = _Unquoted(r" \t", r"(?=[ \t\n]|\Z)")
_EXPORTED_WORD = _Unquoted(r" \t{", r"(?=[ \t\n]|\Z)")  # where bash expands braces
_MANGLED = r"\x01\x7f"  # bash marks its own text with these, and loses some
_DEFAULT = _Unquoted("}" + _MANGLED, r"\}")
_EXPORTED_DEFAULT = _Unquoted("{}" + _MANGLED, r"\}")
_DOUBLE = _Quoted("", r"\Z")
_DEFAULT_IN_DOUBLE = _Quoted("'}(" + _MANGLED, r"\}", escapable="}")


def settings(text: str) -> Iterator[Setting | Remark]:
    """Every assignment of the text, and a remark for each line that is refused."""
    return scan(text, _statement)


def _statement(cursor: Cursor, known: Mapping[str, str]) -> Iterator[Setting]:
    exported = cursor.take(_EXPORT) is not None
    cursor.take(_GAP)
    found = _assignments(cursor, known, exported=exported)
    # export fills in all of its words before it sets the first
    yield from list(found) if exported else found


def _assignments(cursor: Cursor, known: Mapping[str, str], *, exported: bool) -> Iterator[Setting]:
    start = cursor.place
    while not cursor.take(_END):
        again = cursor.take(_BARE_NAME) if exported else None
        if again is None:
            yield _setting(cursor, known, exported=exported, is_first=cursor.place == start)
        elif again[1] not in known:
            raise Fault(
                f"{again[1]} has no value here or above; write {again[1]}=value, without blanks"
            )
        cursor.take(_GAP)


def _setting(
    cursor: Cursor, known: Mapping[str, str], *, exported: bool, is_first: bool
) -> Setting:
    line, head = cursor.line, cursor.take(_HEAD)
    if head is None and is_first:
        raise Fault("not NAME=value without blanks at the '='; bash would run it as a command")
    if head is None:
        raise Fault("bash would take what follows the blank for a command; quote the value")
    if head[1] in BASH_OWN:
        raise Fault(f"bash keeps {head[1]} for itself and drops what is assigned; rename it")
    words = _Words(cursor, exported=exported)
    pieces = tuple(words.unquoted(_EXPORTED_WORD if exported else _WORD))
    text = fill_in(pieces, known, otherwise=_OTHERWISE, doubts=words.doubts)
    return Setting(head[1], text, line, tuple(dict.fromkeys(words.doubts)))


class _Words:
    """Takes words from the cursor, as bash splits and unquotes them."""

    def __init__(self, cursor: Cursor, *, exported: bool) -> None:
        self._cursor = cursor
        self._default = _EXPORTED_DEFAULT if exported else _DEFAULT
        self._depth = 0
        self.doubts: list[str] = []

    def unquoted(self, kind: _Unquoted) -> Iterator[str | Reference]:
        """The pieces up to the end of a word, or of a default that stands outside of quotes."""
        take, peek, plain = self._cursor.take, self._cursor.peek, ""
        while not take(kind.end):
            if found := take(kind.plain):
                yield (plain := found[0])
            elif take(_JOIN):
                self.doubts.append("it ends in a backslash, so the next line was joined to it")
            elif found := take(_ESCAPED):
                if found[1].isalnum():
                    self.doubts.append("a backslash before a letter was dropped, as bash does")
                yield found[1]
            elif quote := peek(_QUOTE):
                if plain.endswith(_BEFORE_JSON_STRING):
                    self.doubts.append("the quotes inside it were taken away, as bash does")
                yield from self._body(quote[0])
            else:
                yield self._dollar(is_quoted=False)

    def quoted(self, kind: _Quoted) -> Iterator[str | Reference]:
        """The pieces up to the closing quote, or to the end of a default inside quotes."""
        take = self._cursor.take
        while not take(kind.end):
            if (found := take(kind.plain)) or take(_JOIN):
                yield found[0] if found else ""
            elif found := take(kind.escaped):
                yield found[1]
            elif found := take(_BACKSLASH):
                yield found[0]
            else:
                yield self._dollar(is_quoted=True)

    def _body(self, quote: str) -> Iterator[str | Reference]:
        """What a pair of quotes holds; it is taken whole, even if there is a fault in it."""
        body = self._cursor.take(BODY[quote])
        if body is None:
            raise Fault("the quote opened here is never closed")
        self.doubts += swallowed(body["text"])
        if quote == "'":
            yield body["text"]
        else:
            yield from _Words(Cursor(body["text"]), exported=False).quoted(_DOUBLE)

    def _dollar(self, *, is_quoted: bool) -> str | Reference:
        take, peek = self._cursor.take, self._cursor.peek
        if peek(_TORN):
            raise Fault("a name after '$' goes on beyond its line; join the lines")
        if found := take(_NAME):
            return Reference(found[1])
        if take(_OPEN):
            return self._reference(is_quoted=is_quoted)
        if peek(_COMMAND):
            raise Fault(f"bash would run a command or calculate here; {_QUOTE_IT}")
        if peek(_SHELL_OWN):
            raise Fault(f"bash would fill in something of its own for the '$'; {_QUOTE_IT}")
        if peek(_DOLLAR) is None or (not is_quoted and peek(_ANSI)):
            found = peek(_ANY)
            raise Fault(f"{found[0]!r} means more to bash here; {_QUOTE_IT}" if found else _NO_END)
        take(_DOLLAR)
        return "$"

    def _reference(self, *, is_quoted: bool) -> Reference:
        head = self._cursor.take(_BRACED)
        if head is None:
            raise Fault(f"of '${{...}}' only defaults (- :- ? :? + :+) are read; {_QUOTE_IT}")
        if head["close"]:
            return Reference(head[1])
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Fault("its references are nested too deeply")
        default = self.quoted(_DEFAULT_IN_DOUBLE) if is_quoted else self.unquoted(self._default)
        found = Reference(head[1], head["operator"], tuple(default))
        self._depth -= 1
        return found

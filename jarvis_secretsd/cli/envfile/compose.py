"""The dialect `compose`: what Docker Compose v2 makes of `.env` and of an `env_file:`.

As documented under "Env file syntax", and in the details as compose-go does it: escapes are
decoded in double quotes, then `$` is filled in everywhere but in single quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from jarvis_secretsd.cli.envfile.references import MAX_DEPTH, Reference, fill_in
from jarvis_secretsd.cli.envfile.scanning import BODY, REST, Cursor, quoted, scan, trimmed
from jarvis_secretsd.cli.envfile.words import Fault, Remark, Setting

_HEAD = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[^=:\n]*)[=:][ \t]*")
_QUOTE = re.compile(r"[\"']")
_BODY = {'"': BODY['"'], "'": re.compile(r"'(?P<text>(?:[^'\\]++|\\.)*+)'", re.DOTALL)}
_ESCAPE = re.compile(r"\\([abfnrtv$\"\\0])")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPED |= {'"': '"', "\\": "\\", "$": "$$"}
_DOLLAR = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<name>[a-z_][a-z0-9_]*)"
    r"|(?P<open>\{)(?:(?P<braced>[a-z_][a-z0-9_]*)(?:(?P<close>\})|(?P<operator>:?[-+?])))?)",
    re.IGNORECASE,
)
_BRACE = re.compile(r"(?P<opening>\$?)\{|\}|\n")
_OTHERWISE = "write '$$' for a dollar, or put the value in single quotes"


def settings(text: str) -> Iterator[Setting | Remark]:
    """Every assignment of the text, and a remark for each line that is refused."""
    return scan(text, _statement)


def _statement(cursor: Cursor, known: Mapping[str, str]) -> Iterator[Setting]:
    line = cursor.line
    head = cursor.take(_HEAD)
    if head is None:
        raise Fault("not NAME=value; Compose would look for it in its own environment")
    doubts: list[str] = []
    quote = cursor.peek(_QUOTE)
    text = quoted(cursor, _BODY[quote[0]], doubts) if quote else _unquoted(cursor, doubts)
    if quote and quote[0] == "'":
        text = text.replace("\\'", "'")
    else:
        template = _unescaped(text) if quote else text
        text = fill_in(tuple(_pieces(template)), known, otherwise=_OTHERWISE, doubts=doubts)
    yield Setting(head["name"].rstrip(" \t"), text, line, tuple(doubts))


def _unquoted(cursor: Cursor, doubts: list[str]) -> str:
    rest = cursor.take(REST)
    text = (rest["text"] if rest else "").partition(" #")[0]
    if text.startswith("#"):
        if text[1:2] in ("", " ", "\t"):
            raise Fault("Compose takes '# ...' for the value here; give it a line of its own")
        doubts.append("the '#' right after '=' was read as the value's first character")
    if "\t#" in text:
        doubts.append("'#' after a tab was kept: Compose cuts a comment only after a space")
    return trimmed(text)


def _unescaped(text: str) -> str:
    if "0" in _ESCAPE.findall(text):
        raise Fault("'\\0' is an octal number to Compose; write the character itself")
    return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text)


def _pieces(text: str, depth: int = 0) -> Iterator[str | Reference]:
    if depth > MAX_DEPTH:
        raise Fault("its references are nested too deeply")
    place = 0
    while found := _DOLLAR.search(text, place):
        yield text[place : found.start()]
        place = found.end()
        if found["escaped"]:
            yield "$"
        elif found["name"]:
            yield Reference(found["name"])
        elif found["close"]:
            yield Reference(found["braced"])
        elif found["operator"]:
            end = _closing_brace(text, place)
            operand = tuple(_pieces(text[place:end], depth + 1))
            yield Reference(found["braced"], found["operator"], operand)
            place = end + 1
        else:
            raise Fault(f"what follows '${{' is no reference of Compose; {_OTHERWISE}")
    yield text[place:]


def _closing_brace(text: str, place: int) -> int:
    depth = 1
    for found in _BRACE.finditer(text, place):
        if found[0] == "\n":
            break
        if found[0] == "{":
            raise Fault("versions of Compose disagree about a '{' in a default; do without it")
        depth += 1 if found["opening"] else -1
        if not depth:
            return found.start()
    raise Fault("a '${' is not closed on its line")

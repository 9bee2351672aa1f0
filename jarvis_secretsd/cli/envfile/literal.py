"""The dialect `literal`: what all readers agree on, or nothing. It never fills anything in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from jarvis_secretsd.cli.envfile.references import named_in
from jarvis_secretsd.cli.envfile.scanning import BODY, REST, Cursor, quoted, scan, trimmed
from jarvis_secretsd.cli.envfile.words import Fault, Remark, Setting

_HEAD = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[^=\n]*)=(?P<gap>[ \t]*)")
_QUOTE = re.compile(r"[\"']")
_COMMENT = re.compile(r"(?<![ \t])[ \t]+#")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$", "`": "`"}
_KEPT_BY_SOME = {
    "$": r"'\$' was read as '$', as bash and Compose do; python-dotenv would keep the backslash",
    "`": r"'\`' was read as '`', as bash does; python-dotenv and Compose would keep the backslash",
}


def settings(text: str) -> Iterator[Setting | Remark]:
    """Every assignment of the text, and a remark for each line that readers don't agree on."""
    found = list(scan(text, _statement))
    names = {each.variable for each in found if isinstance(each, Setting)}
    for each in found:
        if isinstance(each, Setting):
            yield replace(each, doubts=each.doubts + tuple(named_in(each.text, names)))
        else:
            yield each


def _statement(cursor: Cursor, _known: Mapping[str, str]) -> Iterator[Setting]:
    line = cursor.line
    head = cursor.take(_HEAD)
    if head is None:
        raise Fault("not NAME=value (there is no '=')")
    doubts: list[str] = []
    quote = cursor.peek(_QUOTE)
    if quote is None:
        text = _unquoted(cursor, doubts, after_gap=bool(head["gap"]))
    else:
        body = quoted(cursor, BODY[quote[0]], doubts)
        text = _unescaped(body, doubts) if quote[0] == '"' else _kept(body, doubts)
    yield Setting(head["name"].rstrip(" \t"), text, line, tuple(doubts))


def _unquoted(cursor: Cursor, doubts: list[str], *, after_gap: bool) -> str:
    rest = cursor.take(REST)
    text = rest["text"] if rest else ""
    if text.startswith("`"):
        raise Fault("some readers take a ` for a quote; put the value in single quotes")
    if text.startswith("#"):
        if after_gap or text[1:2] in ("", " ", "\t"):
            doubts.append("'# ...' in place of a value was read as a comment; quote a value")
            return ""
        doubts.append("the '#' right after '=' was read as the value's first character")
    comment = _COMMENT.search(text)
    if comment and comment[0].endswith("\t#"):
        doubts.append("'#' after a tab was read as a comment's start; Compose would keep it")
    return trimmed(text[: comment.start()] if comment else text)


def _unescaped(text: str, doubts: list[str]) -> str:
    escaped = dict.fromkeys(_ESCAPE.findall(text))
    if any(character not in _ESCAPED for character in escaped):
        raise Fault(
            'in double quotes only \\n \\r \\t \\" and \\\\ mean the same to all readers; '
            "use single quotes, or double the backslash"
        )
    doubts += [_KEPT_BY_SOME[character] for character in escaped if character in _KEPT_BY_SOME]
    return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text)


def _kept(text: str, doubts: list[str]) -> str:
    if text.endswith("\\"):
        raise Fault("\\' ends a value for bash, but not for python-dotenv; use double quotes")
    if "\\\\" in text:
        doubts.append("two backslashes were kept; python-dotenv would make them one")
    return text

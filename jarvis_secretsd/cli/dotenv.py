"""Reading a `.env` file literally, or not at all.

Programs disagree about what a `.env` says: python-dotenv unescapes inside single quotes, bash
expands `$`, Compose does a bit of each. What they agree on is read here; what they don't is refused
with its line, because a password that is nearly right is found out at night. Nothing is ever
interpolated. No message holds a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from jarvis_secretsd.errors import InvalidRequest
from jarvis_secretsd.values import SecretName, SecretValue

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Sixteen of the largest values; no `.env` that people write comes near."""

MAX_SHOWN_NAME = 64
"""A longer "name" on a bad line is likelier a piece of a value, and isn't shown."""

_IGNORED = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_HEAD = re.compile(r"[ \t]*(?:export[ \t]+(?=[^ \t=]))?(?P<name>[^=\n]*?)[ \t]*=(?P<gap>[ \t]*)")
_REST = re.compile(r"(?P<text>[^\n]*)(?:\n|\Z)")
_QUOTE = re.compile(r"[\"']")
_QUOTED = {
    '"': re.compile(r'(?P<text>(?:[^"\\]++|\\.)*+)"', re.DOTALL),
    "'": re.compile(r"(?P<text>[^']*+)'"),
}
_AFTER_QUOTE = re.compile(r"(?P<comment>[ \t]*(?:#[^\n]*)?)(?:\n|\Z)")
_COMMENT = re.compile(r"[ \t]+#")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"'}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWABLE = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_SHOWN_NAME}}}")
_REFERENCE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
# Not the last line of base64, whose `=` ends it.
_SWALLOWED = re.compile(r"\n[ \t]*(?:export[ \t]+)?[A-Za-z_]\w*=(?!=*(?:\n|\Z))")


class Remark(Struct, frozen=True):
    """What is to be said about a line, counted from 1 as an editor does."""

    line: int
    text: str


class Assignment(Struct, frozen=True):
    """One variable of the file, and the secret that it becomes."""

    variable: str
    name: SecretName
    value: SecretValue
    line: int


class Reading(Struct, frozen=True):
    """A file that was read surely: the assignments in order, and what a person should look at."""

    assignments: tuple[Assignment, ...]
    warnings: tuple[Remark, ...]


class DotenvRefused(InvalidRequest):
    """The file can't be read surely. `problems` holds every line that is at fault."""

    def __init__(self, problems: tuple[Remark, ...]) -> None:
        super().__init__("; ".join(f"line {found.line}: {found.text}" for found in problems))
        self.problems = problems


def read_dotenv(data: bytes) -> Reading:
    """What the file says, whole. Raises DotenvRefused with every fault that was found."""
    scanner = _Scanner(_decode(data))
    assignments = list(scanner.assignments())
    problems = scanner.problems + list(_collisions(assignments))
    if problems:
        raise DotenvRefused(tuple(sorted(problems, key=lambda found: found.line)))
    warnings = scanner.warnings + list(_references(assignments))
    return Reading(tuple(assignments), tuple(sorted(warnings, key=lambda found: found.line)))


def _decode(data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise _refused(1, f"the file is larger than {MAX_FILE_BYTES:,} bytes")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refused(1, "the file is UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refused(line, f"byte {error.start} is not UTF-8; save the file as UTF-8") from None
    text = text.replace("\r\n", "\n")
    strays = [
        Remark(number, "a control character that no reader treats alike (NUL or a lone CR)")
        for number, line in enumerate(text.split("\n"), start=1)
        if "\0" in line or "\r" in line
    ]
    if strays:
        raise DotenvRefused(tuple(strays))
    return text


def _refused(line: int, text: str) -> DotenvRefused:
    return DotenvRefused((Remark(line, text),))


class _Fault(Exception):
    """A line that can't be read; the scanner goes on with the next one, to find all of them."""


class _Scanner:
    """Goes through the text once, from assignment to assignment."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._line = 1
        self._doubts: list[str] = []
        self.problems: list[Remark] = []
        self.warnings: list[Remark] = []

    def assignments(self) -> Iterator[Assignment]:
        """Every assignment that can be read; the others are in `problems` afterwards."""
        while self._place < len(self._text):
            if self._take(_IGNORED):
                continue
            start, line = self._place, self._line
            try:
                yield self._assignment(line)
            except _Fault as fault:
                self.problems.append(Remark(line, str(fault)))
                self._skip_line(start)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._place)
        if match is not None:
            self._place = match.end()
            self._line += match[0].count("\n")
        return match

    def _skip_line(self, start: int) -> None:
        """To the next line, unless what was at fault was taken with its line's end."""
        if self._place == start or self._text[self._place - 1] != "\n":
            self._take(_REST)

    def _assignment(self, line: int) -> Assignment:
        head = self._take(_HEAD)
        if head is None:
            raise _Fault("not NAME=value (there is no '=')")
        self._doubts = []
        quote = self._take(_QUOTE)
        text = self._quoted(quote[0]) if quote else self._unquoted(after_gap=bool(head["gap"]))
        if not text:
            self._doubts.append("its value is empty")
        found = Assignment(head["name"], _secret_name(head["name"]), _secret_value(text), line)
        self.warnings += [Remark(line, f"{found.variable}: {doubt}") for doubt in self._doubts]
        return found

    def _unquoted(self, *, after_gap: bool) -> str:
        rest = self._take(_REST)
        text = rest["text"] if rest else ""
        if text.startswith("`"):
            raise _Fault("some readers take a ` for a quote; put the value in single quotes")
        if text.startswith("#"):
            if after_gap:
                return ""
            if text[1:2] in ("", " ", "\t"):
                self._doubts.append("'# ...' right after '=' was read as a comment; quote a value")
                return ""
            self._doubts.append("the '#' right after '=' was read as the value's first character")
        return _COMMENT.split(text, maxsplit=1)[0].rstrip(" \t")

    def _quoted(self, quote: str) -> str:
        opened = self._line
        body = self._take(_QUOTED[quote])
        if body is None:
            raise _Fault(f"the {quote} opened here is never closed")
        after = self._take(_AFTER_QUOTE)
        if after is None:
            where = "" if self._line == opened else f" on line {self._line}"
            raise _Fault(f"text follows the closing {quote}{where}; quote the value as a whole")
        if after["comment"].startswith("#"):
            self._doubts.append("the '#' right after the quote was read as a comment's start")
        if _SWALLOWED.search(body["text"]):
            self._doubts.append("its value holds a line like NAME=value; is a quote missing?")
        return self._unescaped(body["text"]) if quote == '"' else self._literal(body["text"])

    def _unescaped(self, text: str) -> str:
        if any(character not in _ESCAPED for character in _ESCAPE.findall(text)):
            raise _Fault(
                'in double quotes only \\n \\r \\t \\" and \\\\ mean the same to all readers; '
                "use single quotes, or double the backslash"
            )
        return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text)

    def _literal(self, text: str) -> str:
        if text.endswith("\\"):
            raise _Fault("\\' ends a value for bash, but not for python-dotenv; use double quotes")
        if "\\\\" in text:
            self._doubts.append("two backslashes were kept; python-dotenv would make them one")
        return text


def _secret_name(variable: str) -> SecretName:
    if _VARIABLE.fullmatch(variable) is None:
        raise _Fault(_explain_variable(variable))
    try:
        return SecretName(variable.lower())
    except ValueError as error:
        raise _Fault(str(error)) from None


def _explain_variable(variable: str) -> str:
    if not variable:
        return "there is no name before '='"
    if _SHOWABLE.fullmatch(variable) is None:
        return "what stands before '=' is no variable's name (letters, digits and '_')"
    guess = re.sub(r"[^A-Za-z0-9_]", "_", variable)
    guess = f"_{guess}" if guess[0].isdigit() else guess
    return f"{variable!r} is no variable's name (letters, digits and '_'); did you mean {guess!r}?"


def _secret_value(text: str) -> SecretValue:
    try:
        return SecretValue.from_text(text)
    except ValueError as error:
        raise _Fault(str(error)) from None


def _collisions(assignments: list[Assignment]) -> Iterator[Remark]:
    first: dict[SecretName, Assignment] = {}
    for found in assignments:
        earlier = first.setdefault(found.name, found)
        if earlier is found:
            continue
        if earlier.variable == found.variable:
            text = f"{found.variable} was already set on line {earlier.line}; keep one of the two"
        else:
            text = (
                f"{found.variable} and {earlier.variable} (line {earlier.line}) would both be "
                f"the secret {found.name}; rename one of the two"
            )
        yield Remark(found.line, text)


def _references(assignments: list[Assignment]) -> Iterator[Remark]:
    known = {found.variable for found in assignments}
    for found in assignments:
        for reference in dict.fromkeys(_REFERENCE.findall(found.value.reveal_text())):
            if reference in known:
                yield Remark(
                    found.line,
                    f"{found.variable}: its value names the variable {reference} of this file; "
                    "it was read as text, nothing was filled in",
                )

"""From a file's bytes to its text, where a line ends with a line feed."""

from __future__ import annotations

from jarvis_secretsd.cli.envfile.words import MAX_FILE_BYTES, EnvfileRefused, Remark


def decode(data: bytes) -> str:
    """The text, without its byte order mark, CRLF as LF. Raises EnvfileRefused."""
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
        raise EnvfileRefused(tuple(strays))
    return text


def _refused(line: int, text: str) -> EnvfileRefused:
    return EnvfileRefused((Remark(line, text),))

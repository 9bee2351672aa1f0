"""`.env` files: read in the dialect of the program that they were written for, and written for all.

Programs disagree about what a `.env` says: python-dotenv unescapes inside single quotes, bash
expands `$`, Compose does a bit of each. A file is read surely or refused with its lines, because a
password that is nearly right is found out at night. Nothing is ever run, nothing comes from the
environment of who reads, and no message holds a value.
"""

from jarvis_secretsd.cli.envfile.placeholders import placeholder
from jarvis_secretsd.cli.envfile.reading import read_envfile
from jarvis_secretsd.cli.envfile.words import (
    MAX_FILE_BYTES,
    Assignment,
    Dialect,
    EnvfileRefused,
    Reading,
    Remark,
)
from jarvis_secretsd.cli.envfile.writing import Unwritable, write_envfile

__all__ = [
    "MAX_FILE_BYTES",
    "Assignment",
    "Dialect",
    "EnvfileRefused",
    "Reading",
    "Remark",
    "Unwritable",
    "placeholder",
    "read_envfile",
    "write_envfile",
]

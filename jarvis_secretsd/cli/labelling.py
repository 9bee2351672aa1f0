"""`jarvis-secrets files`: which file is which secret.

A directory of secrets is flat, as Docker's is: the secret db/main is the file db_main. What is
asked for by hand goes before what a pattern chooses, and doesn't also come by its own name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from jarvis_secretsd.cli.faults import Faulty
from jarvis_secretsd.cli.naming import check_used
from jarvis_secretsd.cli.selection import choose, pick
from jarvis_secretsd.values import SecretName

WHAT = "secret that you may read"

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
"""A name of NAME_MAX bytes that no shell has to quote and that hides nothing."""

Labels = Mapping[str, SecretName]
"""The secret of each file."""


class Labelled(Struct, frozen=True):
    """The files that there are to be, and what was wrong with others."""

    labels: Labels
    faults: tuple[str, ...]


class Selection(Struct, frozen=True):
    """What is wanted: files by hand, and what the patterns choose; without any, everything."""

    by_hand: Labels
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    def begin(self, readable: Sequence[SecretName]) -> Labels:
        """The files of what may be read at first.

        Raises Refused where something finds no secret, Faulty where two would be one file.
        """
        check_used(self.by_hand.values(), readable, WHAT)
        if self._goes_by_pattern:
            choose(readable, self.only, self.skip, what=WHAT)
        labelled = self.go_on(readable, {})
        if labelled.faults:
            raise Faulty(labelled.faults, "no file was written")
        return labelled.labels

    def go_on(self, readable: Sequence[SecretName], held: Labels) -> Labelled:
        """The files of what may be read now; where two would be one, it stays what it is."""
        chosen = pick(readable, self.only, self.skip) if self._goes_by_pattern else ()
        labels = {file: name for file, name in self.by_hand.items() if name in readable}
        by_name = [name for name in chosen if name not in self.by_hand.values()]
        first = [name for name in by_name if held.get(file_of(name)) == name]
        faults = []
        for name in (*first, *by_name):
            file = file_of(name)
            holder = labels.setdefault(file, name)
            if holder != name:
                faults.append(
                    f"{holder} and {name} would both be the file {file}; "
                    f"leave one out with --skip, or rename one with FILE=NAME"
                )
        return Labelled(labels, tuple(faults))

    @property
    def _goes_by_pattern(self) -> bool:
        return bool(self.only or self.skip or not self.by_hand)


def file_of(name: SecretName) -> str:
    """The file that a secret is by its own name."""
    return name.replace("/", "_")


def parse_labels(texts: Iterable[str]) -> Labels:
    """What each NAME or FILE=NAME says. Raises ValueError with what is wrong."""
    labels: dict[str, SecretName] = {}
    for file, name in map(_parse_label, texts):
        if labels.setdefault(file, name) != name:
            raise ValueError(f"{file} is said to be both {labels[file]} and {name}")
    return labels


def _parse_label(text: str) -> tuple[str, SecretName]:
    file, equals, name = text.rpartition("=")
    secret = SecretName(name)
    if not equals:
        return file_of(secret), secret
    if _FILE.fullmatch(file) is None:
        raise ValueError(f"{file!r} is no name for a file here: A-Z a-z 0-9 _ . - and no dot first")
    return file, secret

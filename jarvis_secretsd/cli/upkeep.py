"""`jarvis-secrets files`: a folder that has what may be read, and goes on having it.

It outlives the daemon: while there is nobody to ask, every file stays as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NoReturn

from jarvis_secretsd.cli.asking import ask_each
from jarvis_secretsd.cli.exits import explain
from jarvis_secretsd.cli.folder import Folder, FolderGone
from jarvis_secretsd.cli.labelling import Labels, Selection
from jarvis_secretsd.cli.noticing import FIRST_PAUSE, LONGEST_PAUSE, counted_off
from jarvis_secretsd.client import (
    AccessDenied,
    DaemonUnavailable,
    DaemonUnreachable,
    SecretNotFound,
    SecretsClient,
    SecretsClientError,
)
from jarvis_secretsd.errors import SecretsError
from jarvis_secretsd.messages import Found, Get
from jarvis_secretsd.values import SecretName


class Upkeep:
    """Keeps a folder. At first nothing is written before all that is wanted is had.

    `tell` gets a line for each thing that happens; `began` is called once, with the files' names,
    when all are there.
    """

    def __init__(
        self,
        client: SecretsClient,
        folder: Folder,
        selection: Selection,
        tell: Callable[[str], None],
        began: Callable[[Sequence[str]], None],
    ) -> None:
        self._client = client
        self._folder = folder
        self._selection = selection
        self._tell = tell
        self._began = began
        self._kids: dict[str, str] = {}
        self._held: dict[str, tuple[SecretName, str]] = {}
        self._has_begun = False
        self._said = ""
        self._pause = FIRST_PAUSE

    def fill(self) -> None:
        """Have every file, once. Raises SecretsClientError, SecretsError."""
        with self._client.watch() as watch:
            self._take(next(watch))

    def go_on(self) -> NoReturn:
        """Have every file, and then every change, for as long as the process lives.

        A daemon that isn't there, or can't now, is waited for. Raises SecretsClientError and
        SecretsError only before the first files are there, and FolderGone.
        """
        while True:
            try:
                self._follow()
            except FolderGone:
                raise
            except (SecretsClientError, SecretsError) as error:
                may_pass = isinstance(error, DaemonUnreachable | DaemonUnavailable)
                if not (self._has_begun or may_pass):
                    raise
                if isinstance(error, AccessDenied):
                    self._renew({})
                self._remark(f"can't follow changes, but tries on: {explain(error)}")
            time.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _follow(self) -> None:
        self._kids = {}
        with self._client.watch() as watch:
            for told in watch:
                self._take(told)
                if self._said:
                    self._tell("follows changes again")
                self._pause, self._said = FIRST_PAUSE, ""

    def _take(self, told: Mapping[str, str | None]) -> None:
        kids = {**self._kids, **told}
        self._kids = {name: kid for name, kid in kids.items() if kid is not None}
        self._renew(self._labels())
        if not self._has_begun:
            self._folder.sweep(self._held)
            self._has_begun, self._said = True, ""
            self._began([*self._held])

    def _labels(self) -> Labels:
        readable = [SecretName(name) for name in sorted(self._kids)]
        if not self._has_begun:
            return self._selection.begin(readable)
        held = {file: name for file, (name, _) in self._held.items()}
        labelled = self._selection.go_on(readable, held)
        for fault in labelled.faults:
            self._tell(fault)
        return labelled.labels

    def _renew(self, labels: Labels) -> None:
        """Have these files and no others of ours."""
        self._let_go(labels)
        stale = [f for f, name in labels.items() if self._held.get(f) != (name, self._kids[name])]
        found = self._fetch(dict.fromkeys(labels[file] for file in stale))
        self._let_go({file for file, name in labels.items() if name in self._kids})
        before = {*self._held}
        new = [
            file
            for file in stale
            if (name := labels[file]) in found and self._hold(file, name, found[name])
        ]
        if self._has_begun:
            self._tell_new([f for f in new if f in before], [f for f in new if f not in before])

    def _let_go(self, wanted: Container[str]) -> None:
        gone = [file for file in self._held if file not in wanted]
        for file in gone:
            self._folder.remove(file)
            del self._held[file]
        if gone:
            self._tell(f"removed {counted_off(gone)}: deleted, or not to be read any more")

    def _fetch(self, names: Iterable[SecretName]) -> dict[SecretName, Found]:
        """The values. What was deleted or denied a moment ago is left out, though not at first."""
        wanted = [*names]
        answers = ask_each(self._client, [Get(name) for name in wanted], Found, "Reading")
        found: dict[SecretName, Found] = {}
        for name, answer in zip(wanted, answers, strict=True):
            match answer:
                case Found():
                    found[name] = answer
                    self._kids[name] = answer.kid
                case SecretNotFound() | AccessDenied() if self._has_begun:
                    del self._kids[name]
                case _:
                    answer.add_note(name)
                    raise answer
        return found

    def _hold(self, file: str, name: SecretName, found: Found) -> bool:
        is_new = self._folder.hold(file, found.value.reveal())
        self._held[file] = (name, found.kid)
        return is_new

    def _tell_new(self, changed: Sequence[str], added: Sequence[str]) -> None:
        if changed:
            self._tell(
                f"changed {counted_off(changed)}; a container that mounts a file alone, and not "
                "its directory, has the old one until it is restarted"
            )
        if added:
            self._tell(f"added {counted_off(added)}")

    def _remark(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._tell(text)

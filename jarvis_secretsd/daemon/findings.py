"""What an inspection found: errors that stop the daemon, warnings, and what could not be told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct, field

from jarvis_secretsd.errors import ConfigurationError, SecretsError


class Findings(Struct):
    """Collected while looking on; each text says what is wrong, where, and the remedy."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def error(self, text: str) -> None:
        """The daemon wouldn't start, or not do what the configuration says."""
        if text not in self.errors:
            self.errors.append(text)

    def warn(self, text: str) -> None:
        """It works, and is probably not what is meant."""
        if text not in self.warnings:
            self.warnings.append(text)

    def note(self, text: str) -> None:
        """What was not looked at, and why."""
        self.notes.append(text)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Take a failure as an error found, and go on behind the block."""
        try:
            yield
        except ConfigurationError as error:
            for problem in error.problems:
                self.error(problem)
        except SecretsError as error:
            self.error(error.message)

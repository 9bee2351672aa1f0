"""What an examination finds, one symptom at a time: how bad it is, where, what, and the remedy."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field


class Level(StrEnum):
    """How bad it is; a `note` is something that couldn't be looked at, or is good to know."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAULT = "fault"


class Symptom(Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at. `where` is a file, a process or a setting."""

    level: Level
    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{self.level}: {place}{self.what}" + (f"; {self.remedy}" if self.remedy else "")


class Symptoms(Struct):
    """Collected while looking on."""

    found: list[Symptom] = field(default_factory=list)

    def ok(self, where: str, what: str) -> None:
        """It was looked at, and is as it should be."""
        self._add(Level.OK, where, what)

    def note(self, where: str, what: str, remedy: str = "") -> None:
        """It wasn't looked at, and why; or it is good to know."""
        self._add(Level.NOTE, where, what, remedy)

    def warn(self, where: str, what: str, remedy: str = "") -> None:
        """It works, and is probably not what is meant, or won't work for long."""
        self._add(Level.WARNING, where, what, remedy)

    def fault(self, where: str, what: str, remedy: str = "") -> None:
        """The daemon doesn't keep what it promises, or will soon stop to."""
        self._add(Level.FAULT, where, what, remedy)

    def _add(self, level: Level, where: str, what: str, remedy: str = "") -> None:
        symptom = Symptom(level, where, what, remedy)
        if symptom not in self.found:
            self.found.append(symptom)

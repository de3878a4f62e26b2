"""The errors that rilievo raises on purpose: each says what happened, why, and what to do about it."""

from __future__ import annotations


class RilievoError(Exception):
    """A problem with the input or the machine, told in three parts.

    what: one sentence, what could not be done.  why: the evidence.  hint: what the user can do now.
    """

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        if self.why:
            lines.append(f"why:   {self.why}")
        if self.hint:
            lines.append(f"hint:  {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return (type(self), (self.what, self.why, self.hint))


class InputError(RilievoError):
    """The photos, files or settings that were given cannot be used."""


class AlignmentError(RilievoError):
    """The photos are readable but do not form a scene (no overlap, one standpoint, ...)."""


class ResourceError(RilievoError):
    """Disk, memory or permission is short."""


class MissingError(RilievoError):
    """An optional package or a weights file is not there."""

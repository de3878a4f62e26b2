"""Answers of the studio that are not what was asked for: what, why, what to do, with a status."""

from __future__ import annotations

from typing import Any

from rilievo.errors import RilievoError


class Problem(RilievoError):
    """An error with its HTTP status. more: further facts for programs."""

    def __init__(self, status: int, what: str, why: str = "", hint: str = "", **more: Any) -> None:
        super().__init__(what, why, hint)
        self.status, self.more = status, more


def document(error: RilievoError) -> dict[str, Any]:
    """The error as JSON has it."""
    more = error.more if isinstance(error, Problem) else {}
    return {"error": error.what, "why": error.why, "hint": error.hint, **more}


def gone(what: str) -> Problem:
    """Something that is not there."""
    return Problem(404, f"There is no such {what}", "it was deleted, or never was", "go back and look at the list")

"""One finding of the quality control: what was looked at, a figure, its limit, a verdict, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from storage.documents import plain

Verdict = Literal["pass", "warn", "fail", "unknown"]


@dataclass(frozen=True, eq=False)
class TimeCourse:
    """A figure as it went over a take, for a chart."""

    measure: str
    """Which: courses of one measure share a chart."""
    time_s: Float[np.ndarray, "n"]
    """Since the first frame set, seconds."""
    value: Float[np.ndarray, "n"]
    """NaN where it could not be told."""
    unit: str
    """Of the value."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What, in a word."""
    camera: str | None
    """Whose; None: the whole take's."""
    value: float | None
    """What came; None if there is no figure."""
    unit: str
    """Of the value and the limit."""
    limit: float | None
    """Beyond it the verdict is worse than pass; None: the figure alone, without a judgement."""
    verdict: Verdict
    """fail: shoot again or repair; warn: look at it; unknown: it could not be judged, and the message says why."""
    message: str
    """What was expected, what came, and what to do."""
    remedy: str = ""
    """What to do; empty for pass and unknown."""
    course: TimeCourse | None = field(default=None, compare=False, repr=False)
    """How the figure went over the take, where that helps. Not part of the JSON, which stays flat."""

    def to_json(self) -> Mapping[str, Any]:
        """As plain JSON values: every field but the time course."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self) if item.name != "course"}


@dataclass(frozen=True)
class Judged:
    """A figure and its limits, from which its verdict follows."""

    name: str
    """What was looked at."""
    camera: str | None
    """Whose."""
    value: float | None
    """What came."""
    unit: str
    """Of value and limits."""
    warn: float | None
    """Beyond it: look at it."""
    fail: float | None = None
    """Beyond it: shoot again."""
    course: TimeCourse | None = None
    """How it went."""

    def above(self, expected: str, got: str, remedy: str) -> Check:
        """Its check, where more is worse."""
        return self._check(1, expected, got, remedy)

    def below(self, expected: str, got: str, remedy: str) -> Check:
        """Its check, where less is worse."""
        return self._check(-1, expected, got, remedy)

    def _check(self, sign: int, expected: str, got: str, remedy: str) -> Check:
        verdict: Verdict = "pass"
        if self._beyond(self.fail, sign):
            verdict = "fail"
        elif self._beyond(self.warn, sign):
            verdict = "warn"
        remedy = "" if verdict == "pass" else remedy
        message = f"expected {expected}; got {got}" + (f"; {remedy}" if remedy else "")
        limit = self.fail if self.warn is None or verdict == "fail" else self.warn
        value = None if self.value is None else float(self.value)
        return Check(self.name, self.camera, value, self.unit, limit, verdict, message, remedy, self.course)

    def _beyond(self, limit: float | None, sign: int) -> bool:
        return self.value is not None and limit is not None and bool(sign * self.value > sign * limit)


def not_judged(name: str, camera: str | None, unit: str, limit: float | None, why: str) -> Check:
    """A check that this take gives no ground to make: neither a pass nor a fault."""
    return Check(name, camera, None, unit, limit, "unknown", f"expected something to judge by; got {why}")

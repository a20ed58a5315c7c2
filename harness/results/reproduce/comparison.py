"""What a record and its reproduction have in common, and the verdict on what they have not."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

Place = tuple[str, int | None]
"""What was recorded, and at how many images seen; None for what belongs to the end."""
Value = float | str | None
Facts = dict[Place, Value]

NUM_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two values of one thing that are not, or might not be, the same.

    Attributes:
        key: A metric, a tensor of the weights, or a fact of the environment.
        step: Images seen, where the value has a place on that axis.
        recorded: The record's value, a hash for pictures and weights; None where it has none.
        reproduced: The value here.
    """

    key: str
    step: int | None = None
    recorded: Value
    reproduced: Value

    def describe(self) -> str:
        """Return it as a line."""
        place = "" if self.step is None else f" at {self.step:,} images"
        return f"{self.key}{place}: recorded {self.recorded}, here {self.reproduced}"


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came of training a run again.

    Attributes:
        run_id: The recorded run.
        outcome: What became of it, as recorded.
        reason: Why it did not finish, as recorded.
        outcome_here: What became of it here.
        reason_here: Why it did not finish here.
        environment: What is not the same here as when it was recorded.
        inexact_because: Why equal bits are not expected; empty where they are.
        tolerance: Allowed relative difference of final scores where equal bits are not expected.
        values: Number of scalars compared.
        steps: Number of points of the x axis at which they lie.
        grids: Number of sample grids compared.
        weights: Number of the generator's weights compared.
        final: The final score on each split, whether or not it differs.
        differing: What contradicts the record; empty where the run is reproduced.
    """

    run_id: str
    outcome: str
    reason: str | None
    outcome_here: str
    reason_here: str | None
    environment: tuple[Difference, ...]
    inexact_because: tuple[str, ...]
    tolerance: float
    values: int
    steps: int
    grids: int
    weights: int
    final: tuple[Difference, ...]
    differing: tuple[Difference, ...]

    @property
    def exact(self) -> bool:
        """Whether equal bits are expected."""
        return not self.inexact_because

    @property
    def reproduced(self) -> bool:
        """Whether the run came out as recorded."""
        return not self.differing

    @property
    def verdict(self) -> str:
        """One line that says what was compared and what came of it."""
        if not self.exact:
            scores = "; ".join(_relative(each) for each in self.final)
            allowed = f"; {self.tolerance:.3g} is allowed" if scores else ""
            return (
                f"{'' if self.reproduced else 'not '}reproduced: recorded as {self.outcome}, "
                f"{self.outcome_here} here{'; ' if scores else ''}{scores}{allowed}"
            )
        if self.reproduced:
            return f"reproduced bit for bit: {self._compared()}"
        close = self.final and all(_is_close(each, self.tolerance) for each in self.final)
        num = f"{len(self.differing):,} difference{'s' if self.differing[1:] else ''}"
        return f"not reproduced: {num} in {self._compared()}" + (
            f"; the final score is within {self.tolerance:.3g}, relative" if close else ""
        )

    def describe(self) -> list[str]:
        """Return the verdict and the first of what differs, as lines."""
        shown = self.differing[:NUM_SHOWN] if self.exact else ()
        lines = [self.verdict, *(f"  {each.describe()}" for each in shown)]
        if len(self.differing) > len(shown) > 0:
            lines.append(f"  and {len(self.differing) - len(shown):,} more")
        return lines

    def _compared(self) -> str:
        parts = [f"{self.values:,} values at {self.steps:,} steps", f"{self.grids:,} pictures"]
        if self.weights:
            parts.append(f"{self.weights:,} weights")
        elif self.outcome != "diverged":
            parts.append("no weights, for the recorded ones are lost")
        return f"{', '.join(parts[:-1])} and {parts[-1]}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        facts = ("exact", "reproduced", "verdict")
        return asdict(self) | {name: getattr(self, name) for name in facts}


def compare(recorded: Facts, here: Facts) -> tuple[Difference, ...]:
    """Return all that differs, in order of images seen; what was never recorded is left out."""
    keys = {key for key, _ in recorded}
    places = recorded.keys() | {place for place in here if place[0] in keys}

    def order(place: Place) -> tuple[bool, int, str]:
        key, step = place
        return key not in ("outcome", "reason"), sys.maxsize if step is None else step, key

    return tuple(
        Difference(key=key, step=step, recorded=then, reproduced=now)
        for key, step in sorted(places, key=order)
        if (then := recorded.get((key, step))) != (now := here.get((key, step)))
    )


def off(
    recorded: Facts, here: Facts, final: tuple[Difference, ...], tolerance: float
) -> tuple[Difference, ...]:
    """Return another outcome, and final scores beyond the tolerance."""
    place = ("outcome", None)
    outcome = compare({place: recorded[place]}, {place: here[place]})
    return outcome + tuple(each for each in final if not _is_close(each, tolerance))


def _is_close(score: Difference, tolerance: float) -> bool:
    then, now = score.recorded, score.reproduced
    if not isinstance(then, float) or not isinstance(now, float):
        return False
    return abs(now - then) <= tolerance * abs(then)


def _relative(score: Difference) -> str:
    then, now = score.recorded, score.reproduced
    if not isinstance(then, float) or not isinstance(now, float):
        return score.describe()
    share = f" ({now / then - 1:+.2%})" if then else ""
    return f"{score.key} {then:.5g} recorded, {now:.5g} here{share}"

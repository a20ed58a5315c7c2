"""How busy the machine is while a run trains: seconds mean little without it."""

from __future__ import annotations

import os


class Load:
    """The machine's load per core, 1 where all cores are busy, as a mean over a run's measurements.

    What the system averages over a minute: processes that run or wait, this one among them, over
    all cores of the machine, also those that a container may not use.

    Args:
        state: An earlier one's `state`, to go on from.
    """

    def __init__(self, state: tuple[float, int] | None = None) -> None:
        self.state = state or (0.0, 0)
        """Sum and number of the measurements."""

    def measure(self) -> float:
        """Measure once more and return the mean so far."""
        total, count = self.state
        total, count = total + os.getloadavg()[0] / (os.cpu_count() or 1), count + 1
        self.state = (total, count)
        return total / count

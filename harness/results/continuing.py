"""Whether a study can go on: its runs would be made today as they were made before."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config import flatten
from harness.errors import HarnessError
from harness.records.tracking import Tracker
from harness.results.reproduce.record import rebuild_config
from harness.work.board import ArmState

OWN = {"seed", "budget"}  # of a run, whatever its arm's settings


def check_defaults(name: str, states: Sequence[ArmState], tracker: Tracker) -> None:
    """Raise HarnessError if a default that an arm relies on is another one than when it started.

    Each arm's run with its default settings is compared with what the same settings mean now.
    """
    for state in states:
        arm = state.arm
        runs = (
            run_id
            for record in (*state.search, *state.confirm)
            if record.cell.point == arm.defaults
            for run_id in record.run_ids.values()
        )
        run_id = next(runs, None)
        if run_id is None:
            continue
        then = rebuild_config(tracker.params(run_id), f"run {run_id}")
        recorded = flatten(then.model_dump(exclude=OWN))
        now = flatten(arm.config(arm.defaults, seed=0).model_dump(exclude=OWN))
        for key in [*recorded, *now]:
            if recorded.get(key) != now.get(key):
                raise HarnessError(
                    f"study {name!r} was started with {key} = {recorded.get(key)} in arm "
                    f"{arm.name!r}, which is {now.get(key)} by this version's defaults: go on with "
                    "the version that started it, or give the new study a name with --name"
                )

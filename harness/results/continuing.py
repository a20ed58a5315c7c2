"""Whether a study can go on: its runs would be made today as they were made before."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config import flatten
from harness.errors import HarnessError
from harness.records.tracking import Tracker
from harness.results.reproduce.record import rebuild_config
from harness.systems import system_of
from harness.work.board import ArmState

OWN = {"seed", "budget"}  # of a run, whatever its arm's settings
SOURCE = "sha256."


def check_defaults(name: str, states: Sequence[ArmState], tracker: Tracker) -> None:
    """Raise HarnessError if a run of an arm would be made of other settings now than it was.

    A default may have become another one, or exported weights that runs start from.
    """
    for state in states:
        for record in (*state.search, *state.confirm):
            if record.cell.point is None or not record.run_ids:
                continue
            run_id = next(iter(record.run_ids.values()))
            try:
                params = tracker.settings(run_id)
            except HarnessError:  # a run that MLflow has lost says nothing
                continue
            then = rebuild_config(params, f"run {run_id}")
            config = state.arm.config(record.cell.point, seed=0)
            sources = system_of({"system": config.system}).sources(config)
            recorded = flatten(then.model_dump(exclude=OWN)) | {
                key: value for key, value in params.items() if key.startswith(SOURCE)
            }
            now = flatten(config.model_dump(exclude=OWN)) | {
                f"{SOURCE}{key}": digest for key, digest in sources.items()
            }
            for key in [*recorded, *now]:
                if recorded.get(key) != now.get(key):
                    raise HarnessError(
                        f"study {name!r} was started with {key} = {recorded.get(key)} in arm "
                        f"{state.arm.name!r}, which is {now.get(key)} now: go on with what it was "
                        "started with, or give the new study a name with --name"
                    )
            break  # an arm's runs were all made alike

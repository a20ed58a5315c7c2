"""Commands on a study as a whole: remove it, or give it another name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.cli.options import StorageUrl, StudyName, TrackingUri, locate
from harness.errors import HarnessError


def rm(
    study: StudyName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    tracking_uri: TrackingUri = None,
    storage: StorageUrl = None,
) -> None:
    """Remove a study: its trials, runs, files and checkpoints. Reports and exports stay."""
    from harness.work.removal import Removal

    removal = Removal.plan(study, locate(None, tracking_uri, storage))
    megabytes = removal.num_bytes / 1e6
    print(f"{study}: {removal.num_runs} runs, {megabytes:,.1f} MB of files")
    if removal.elsewhere:
        print(f"Files in {removal.elsewhere[0]} and the like are of another workspace and stay.")
    if removal.shown:
        print(
            "Its test scores were shown. The memory of that goes with it: if it is run again, its "
            "report will not know that this was not the first look, so say it there yourself."
        )
    if not yes:
        if not sys.stdin.isatty():
            raise HarnessError(f"rm {study}: there is nobody to ask; --yes removes it")
        typer.confirm(f"Remove {study}?", abort=True)
    removal.carry_out()
    print(
        f"Removed {study}: {megabytes:,.1f} MB are free. MLflow keeps the rows of its runs, marked "
        "as deleted, until `mlflow gc`."
    )


def rename(
    old: StudyName,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    tracking_uri: TrackingUri = None,
    storage: StorageUrl = None,
) -> None:
    """Give a study another name, everywhere but in reports and exports that are written."""
    from harness.work.renaming import rename_study

    number = rename_study(old, new, locate(None, tracking_uri, storage))
    print(f"{old} is now {new}, with its {number} runs; it goes on with `--name {new}`.")
    print(f"Reports and exports that were written still say {old}.")

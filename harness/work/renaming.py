"""A study under another name: in Optuna's database, MLflow's experiment and its runs' tags."""

from __future__ import annotations

from harness.errors import HarnessError
from harness.records.workspace import Workspace
from harness.signals import uninterrupted
from harness.study.file import check_name
from harness.work.queue import Storage
from harness.work.rows import Rows
from harness.work.standing import forget

RENAMED = "is being renamed"


def rename_study(old: str, new: str, workspace: Workspace) -> int:
    """Rename a study, and return how many runs it has.

    The study is closed meanwhile: where this is interrupted, every other command says so, and doing
    it again goes on.

    Raises:
        HarnessError: There is no study `old`, it is running somewhere, or `new` is taken.
    """
    storage = Storage(workspace, create=False)
    rows = Rows.find(old, storage)
    if check_name(new) in storage.studies.names():
        raise HarnessError(f"study {new!r} exists: choose another name")
    reason = storage.studies.closed(old) or RENAMED
    if not reason.startswith(RENAMED):
        raise HarnessError(f"study {old!r} {reason}")
    rows.check_idle()
    runs = rows.runs(workspace)
    if runs is None:
        raise HarnessError(f"study {old!r} was never wholly started: remove it with `harness rm`")
    runs.check_free(new)
    storage.studies.close(old, f"{RENAMED}: `harness rename {old} {new}` goes on with it")
    runs.retag(new)
    with uninterrupted():
        runs.rename_experiment(new)
        rows.rename(new)
        forget(old, workspace)
    return runs.number

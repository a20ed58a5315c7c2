"""GAN ablation studies that end with a trustworthy answer.

What the commands do, as functions: each is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "HarnessError": "errors",
    "StudyConfig": "study.study",
    "TrainConfig": "systems",
    "EvaluateConfig": "evaluate",
    "Workspace": "records.workspace",
    "export_best": "results.export",
    "load_generator": "systems",
    "load_network": "systems",
    "load_plugins": "plugins",
    "load_study": "study.file",
    "preview": "launch",
    "read_status": "results.status",
    "reproduce_run": "results.reproduce",
    "run_study": "launch",
    "sample": "results.export",
    "train_once": "launch",
    "write_report": "results.report",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the names above


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

"""GAN ablation studies that end with a trustworthy answer.

What the commands do, as functions: each is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "HarnessError": "errors",
    "StudyConfig": "study",
    "TrainConfig": "config",
    "EvaluateConfig": "config",
    "Workspace": "workspace",
    "export_best": "export",
    "load_generator": "checkpoint",
    "load_study": "study_file",
    "preview": "launch",
    "read_status": "status",
    "reproduce_run": "reproduce",
    "run_study": "launch",
    "sample": "export",
    "train_once": "launch",
    "write_report": "report",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the names above


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Options that several commands share, and where a command's records lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import HarnessError
from harness.records.sqlite import study_names
from harness.records.workspace import Workspace


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise HarnessError(f"--workers {text!r}: allowed are auto and whole numbers from 1")
    return int(text)


DataDir = Annotated[
    Path | None, typer.Option(help="Where datasets lie or go [default: $HARNESS_DATA or data].")
]
TrackingUri = Annotated[
    str | None, typer.Option(help="MLflow's store [default: the local one in mlruns].")
]
StorageUrl = Annotated[
    str | None, typer.Option("--storage", help="Optuna's database [default: in mlruns].")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, over what the file says; repeatable.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads per run [default: cores / workers].")
]
Workers = Annotated[
    int | None,
    typer.Option(
        parser=_workers,
        metavar="auto|N",
        help="Processes that train side by side [default: auto, one-thread workers on all cores].",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _load_plugins(sources: list[str] | None) -> list[str] | None:
    from harness.plugins import load_plugins

    load_plugins(sources or [])
    return sources


Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE|MODULE",
        callback=_load_plugins,
        is_eager=True,
        help="Code that registers further losses, systems, …; repeatable.",
    ),
]


def _complete_study(incomplete: str) -> list[str]:
    """Return names for the shell: of the local studies, from their database's file."""
    try:
        workspace = locate(None, None, None)
    except HarnessError:
        return []
    names = study_names(workspace.storage_url) or []
    return [name for name in names if name.startswith(incomplete)]


def _complete_preset(incomplete: str) -> list[str]:
    """Return names for the shell: of presets, from their files."""
    import harness

    folder = Path(harness.__file__).parent / "study" / "presets"
    return sorted(file.stem for file in folder.glob(f"{incomplete}*.toml"))


StudyName = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A study's name.", autocompletion=_complete_study),
]
AnyStudy = Annotated[
    str | None,
    typer.Argument(help="A study's name; omitted: all.", autocompletion=_complete_study),
]
StudyNames = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY...", help="One study or several.", autocompletion=_complete_study
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option("--preset", help="Start from a named preset.", autocompletion=_complete_preset),
]


def locate(data_dir: Path | None, tracking_uri: str | None, storage: str | None) -> Workspace:
    """Return where records lie, by options, environment or default."""
    return Workspace.locate(data_dir=data_dir, tracking_uri=tracking_uri, storage_url=storage)

"""Commands that read what is recorded: status, report, MLflow's pages, and what may be chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.listing import kinds_and_entries
from harness.cli.options import (
    AnyStudy,
    Json,
    Plugins,
    Quiet,
    StorageUrl,
    StudyNames,
    TrackingUri,
    locate,
)
from harness.cli.output import print_json, print_page, stdout
from harness.errors import HarnessError, unknown_name
from harness.records.sqlite import study_names
from harness.records.workspace import Workspace
from harness.work import standing
from harness.work.standing import Standing


def status(
    study: AnyStudy = None,
    tracking_uri: TrackingUri = None,
    storage: StorageUrl = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Say where a study stands; that test scores were shown is noted."""
    workspace = locate(None, tracking_uri, storage)
    if study is None:
        names = _names(workspace)
        if as_json:
            print_json(names)
        else:
            print("\n".join(names) or "there are no studies yet: start one with `harness run`")
        return
    found = standing.kept(study, workspace) or _standing(study, workspace)
    if as_json:
        print_json(found.values)
    else:
        print_page(found.page)


def _names(workspace: Workspace) -> list[str]:
    """Return the names of all studies, without an import of torch if it can be."""
    if (names := study_names(workspace.storage_url)) is not None:
        return names
    from harness.work.board import list_studies

    return list_studies(workspace)


def _standing(study: str, workspace: Workspace) -> Standing:
    from harness.results.status import read_status

    return read_status(study, workspace).standing()


def report(
    studies: StudyNames,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder [default: reports/STUDY].")
    ] = None,
    tracking_uri: TrackingUri = None,
    storage: StorageUrl = None,
    quiet: Quiet = False,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Write a study up: tables, figures, words; several studies where their protocols agree."""
    from rich.console import Console

    from harness.results.report import write_report

    workspace = locate(None, tracking_uri, storage)
    console = Console(stderr=True, quiet=quiet)
    with console.status("reading") as shown:
        written = write_report(
            studies, workspace, output, tell=lambda stage: shown.update(f"{stage} …")
        )
    if as_json:
        print_json(
            {
                "folder": str(written.folder),
                "answer": written.answer,
                "notices": list(written.notices),
                "runs": written.num_runs,
            }
        )
        return
    for notice in written.notices:
        print(f"Note: {notice}")
    print(written.answer)
    print(f"Report on {written.num_runs} runs: {written.folder / 'report.html'}")


def ui(
    study: Annotated[
        str | None, typer.Argument(help="The study to open [default: the latest].")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="[default: the last one, else 5000]")
    ] = None,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open a browser where there is one.")
    ] = True,
    tracking_uri: TrackingUri = None,
    storage: StorageUrl = None,
    plugins: Plugins = None,
) -> None:
    """Browse studies in MLflow's own UI, on 127.0.0.1: their runs by arm, curves and samples."""
    import socket
    import webbrowser

    from harness.records.sqlite import sqlite_file
    from harness.records.ui import has_browser, serve_ui, ui_address
    from harness.results.browse import open_pages

    workspace = locate(None, tracking_uri, storage)
    file = sqlite_file(workspace.tracking_uri)
    if file is not None and not file.exists():
        raise HarnessError(f"{file} does not exist yet: run a study first")
    served = file is not None or not workspace.tracking_uri.startswith("http")
    port = port or workspace.ui_port
    with socket.socket() as probe:
        if served and probe.connect_ex(("127.0.0.1", port)) == 0:
            raise HarnessError(f"--port {port}: something else listens there; choose another port")
    pages = open_pages(workspace)
    if study is not None and study not in pages:
        raise unknown_name("study", study, pages)
    root = f"http://127.0.0.1:{port}" if served else ui_address(workspace)
    for name, page in pages.items():
        if study in (None, name):
            print(f"{name}: {root}{page}")
    shown = root + pages.get(study or next(reversed(pages), ""), "")
    if not served:
        if browser and has_browser():
            webbrowser.open(shown)
        return
    print(f"MLflow's UI: {root} (end it with Ctrl-C)", flush=True)
    raise typer.Exit(serve_ui(workspace, port, shown if browser and has_browser() else None))


def list_(
    kind: Annotated[str | None, typer.Argument(help="What to list; omitted: the kinds.")] = None,
    as_json: Json = False,
    plugins: Plugins = None,
) -> None:
    """List what a study file may say: losses, penalties, datasets, settings, …"""
    kinds, of_kind = kinds_and_entries(plugins=bool(plugins))
    if kind is not None and kind not in kinds:
        raise unknown_name("kind", kind, kinds)
    entries = kinds if kind is None else of_kind[kind]
    if as_json:
        print_json(entries)
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, description in entries.items():
        table.add_row(name, description)
    stdout().print(table, markup=False, highlight=False)

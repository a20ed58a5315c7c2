"""The command line: thin, and quick to start, since every command imports what it needs itself."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from harness.errors import HarnessError, recording_error, unknown_name
from harness.records.workspace import UI_PORT, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from harness.results.summary import StudySummary
    from harness.study.study import StudyConfig
    from harness.work.display import Display

# What every wrong option or argument raises; typer gives only this subclass a public name.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    help="GAN ablation studies that end with a trustworthy answer.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study's name.")]


@app.command()
def run(
    study_file: Annotated[Path, typer.Argument(help="A study file, e.g. studies/demo.toml.")],
    dry_run: Annotated[bool, typer.Option(help="Only say what would run, and how long.")] = False,
    trials: Annotated[int | None, typer.Option(min=1, help="Search trials per arm.")] = None,
    workers: Workers = None,
    device: Device = "auto",
    threads: Threads = None,
    settings: Settings = None,
    scale: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Shorten budgets (and given samples) by this."),
    ] = 1.0,
    name: Annotated[
        str | None, typer.Option(help="The study's name [default: the file's].")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option(help="Run again what failed with an error.")
    ] = False,
    data_dir: DataDir = None,
    tracking_uri: TrackingUri = None,
    storage: StorageUrl = None,
    quiet: Quiet = False,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Launch a study, or continue it where it stopped."""
    from harness.launch import run_study
    from harness.study.file import check_name, load_study

    if scale <= 0:
        raise HarnessError(f"--scale {scale}: must be above 0 and at most 1")
    overrides = list(settings or [])
    if trials is not None:
        overrides.append(f"search.trials_per_arm={trials}")
    study = load_study(study_file, overrides)
    default_name = study_file.stem
    if scale < 1:
        study = study.scaled(scale)
        default_name += f"-scale{scale:g}"
    workspace = _workspace(data_dir, tracking_uri, storage)
    study_name = check_name(name or default_name)
    if dry_run:
        _dry_run(study_name, study, workspace, device, threads, workers, as_json)
        return
    with _interruptible():
        summary = run_study(
            study_name,
            study,
            workspace,
            device=device,
            threads=threads,
            workers=workers,
            retry_failed=retry_failed,
            source=study_file.read_text(),
            display=_display(quiet),
        )
    if as_json:
        _print_json(summary.to_json())
    else:
        _print_summary(summary)


@app.command()
def train(
    settings: Settings = None,
    preset: Annotated[str | None, typer.Option(help="Start from a named preset.")] = None,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="[default: all cores].")] = None,
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or auto.")] = "float32",
    data_dir: DataDir = None,
    tracking_uri: TrackingUri = None,
    storage: StorageUrl = None,
    quiet: Quiet = False,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Train one generator by hand; settings as in a study file, `evaluate.*` among them."""
    from harness.config import parse
    from harness.evaluate import EvaluateConfig
    from harness.launch import train_once
    from harness.study.file import parse_assignment
    from harness.study.presets import load_preset
    from harness.systems import parse_config

    if precision not in ("auto", "float32", "bfloat16"):
        raise unknown_name("--precision", precision, ["auto", "float32", "bfloat16"])
    values = load_preset(preset).for_one_run() if preset else {}
    evaluate: dict[str, Any] = {}
    for text in settings or []:
        key, value = parse_assignment(text)
        table, _, rest = key.rpartition(".")
        if table == "evaluate":
            evaluate[rest] = value
        elif table == "budget":
            values["budget"] = {rest: value}
        else:
            values[key] = value
    config = parse_config(values, "--set")
    with _interruptible():
        run_id, result = train_once(
            config,
            parse(EvaluateConfig, evaluate, "--set evaluate"),
            _workspace(data_dir, tracking_uri, storage),
            device=device,
            threads=threads,
            precision=precision,  # type: ignore[arg-type]
            display=_display(quiet),
        )
    if as_json:
        scores = dict(result.scores)
        _print_json({"run_id": run_id, "outcome": result.outcome, "scores": scores})
        return
    print(f"run {run_id}: {result.outcome}" + (f" ({result.reason})" if result.reason else ""))
    for key, value in result.scores.items():
        print(f"  {key}  {value:.5g}")


@app.command()
def status(
    study: Annotated[str | None, typer.Argument(help="A study's name; omitted: all.")] = None,
    tracking_uri: TrackingUri = None,
    storage: StorageUrl = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Say where a study stands; only reads."""
    from harness.results.status import list_studies, read_status

    workspace = _workspace(None, tracking_uri, storage)
    if study is None:
        names = list_studies(workspace)
        if as_json:
            _print_json(names)
        else:
            print("\n".join(names) or "there are no studies yet: start one with `harness run`")
        return
    state = read_status(study, workspace)
    if as_json:
        _print_json(state.to_json())
        return
    _print_summary(state.summary)
    for run in state.running:
        print(f"Running: {run}")
    if state.remaining_seconds is not None:
        print(f"About {state.remaining_seconds / 60:.0f} minutes of single-worker time remain.")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535)] = UI_PORT,
    tracking_uri: TrackingUri = None,
) -> None:
    """Browse all runs in MLflow's own UI, on 127.0.0.1."""
    import socket

    from harness.records.sqlite import sqlite_file
    from harness.records.ui import serve_ui

    workspace = _workspace(None, tracking_uri, None)
    file = sqlite_file(workspace.tracking_uri)
    if file is not None and not file.exists():
        raise HarnessError(f"{file} does not exist yet: run a study first")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise HarnessError(f"--port {port}: something else listens there; choose another port")
    print(f"MLflow's UI: http://127.0.0.1:{port} (end it with Ctrl-C)", flush=True)
    raise typer.Exit(serve_ui(workspace, port))


@app.command()
def export(
    study: StudyName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    arm: Annotated[str | None, typer.Option(help="Only this arm's runs.")] = None,
    tracking_uri: TrackingUri = None,
    storage: StorageUrl = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Take the best generator away: the best confirm run on validation images."""
    from harness.results.export import export_best

    result = export_best(study, output, _workspace(None, tracking_uri, storage), arm)
    if as_json:
        _print_json(
            {
                "folder": str(result.folder),
                "arm": result.arm,
                "run_id": result.run_id,
                "scores": result.scores,
            }
        )
        return
    print(
        f"Exported the best generator (arm {result.arm}, run {result.run_id}) to {result.folder}/"
    )
    print(f"Sample grid: {result.folder / 'samples.png'}")


@app.command()
def reproduce(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="A run's id in MLflow.")],
    tolerance: Annotated[
        float, typer.Option(help="Relative, of final scores, where equal bits are not expected.")
    ] = 0.25,
    data_dir: DataDir = None,
    tracking_uri: TrackingUri = None,
    quiet: Quiet = False,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Train a recorded run again and compare; exit code 1 where it comes out otherwise."""
    from harness.results.reproduce import reproduce_run

    result = reproduce_run(
        run_id,
        _workspace(data_dir, tracking_uri, None),
        tolerance=tolerance,
        display=_display(quiet),
        tell=(lambda line: None) if as_json else lambda line: print(line, flush=True),
    )
    if as_json:
        _print_json(result.to_json())
    else:
        print("\n".join(result.describe()))
    raise typer.Exit(0 if result.reproduced else 1)


@app.command()
def report(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="One study or several.")],
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

    workspace = _workspace(None, tracking_uri, storage)
    console = Console(stderr=True, quiet=quiet)
    with console.status("reading") as shown:
        written = write_report(
            studies, workspace, output, tell=lambda stage: shown.update(f"{stage} …")
        )
    if as_json:
        _print_json(
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


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="An exported generator.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png grid or .npz array.")],
    num_samples: Annotated[int, typer.Option("-n", "--num-samples", min=1)] = 64,
    seed: Annotated[int, typer.Option(min=0, help="One seed, one set of samples.")] = 0,
    plugins: Plugins = None,
) -> None:
    """Draw samples from an exported generator."""
    from harness.results.export import check_sample_file, write_samples
    from harness.results.export import sample as draw

    check_sample_file(output)
    write_samples(draw(folder, num_samples, seed), output)
    print(f"{num_samples} samples of seed {seed}: {output}")


@app.command()
def score(
    images: Annotated[Path, typer.Argument(help="A .npz with `images`, or a folder of images.")],
    dataset: Annotated[str, typer.Option(help="What they are compared with.")],
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    ruler: Annotated[
        str | None, typer.Option(help="Feature extractor [default: the dataset's own].")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="How many are scored, at random [default: as in a study].")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the dataset's images [default: its own].")
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Score images that somebody else made, by the protocol that runs are scored by."""
    from harness.results.score import score_images
    from harness.run.execution import resolve_device

    if split not in ("test", "validation"):
        raise unknown_name("--split", split, ["test", "validation"])
    result = score_images(
        images,
        dataset,
        _workspace(data_dir, None, None),
        split=split,  # type: ignore[arg-type]
        ruler=ruler,
        samples=samples,
        image_size=image_size,
        device=resolve_device(device),
    )
    if as_json:
        _print_json(result.to_json())
        return
    from rich.table import Table

    from harness.results.spelling import number, plus_minus

    table = Table()
    for column in (f"{split}, {result.protocol}", "images", "real images", "best"):
        table.add_column(column)
    for line in result.lines:
        floor = plus_minus(line.floor, line.floor_sd)
        table.add_row(line.figure.label, number(line.value), floor, line.figure.direction())
    _stdout().print(table)
    if result.num_images < result.num_given:
        print(f"{result.num_images:,} of {result.num_given:,} images were scored, drawn at random.")


@app.command(name="list")
def list_(
    kind: Annotated[str | None, typer.Argument(help="What to list; omitted: the kinds.")] = None,
    as_json: Json = False,
    plugins: Plugins = None,
) -> None:
    """List what a study file may say: losses, penalties, datasets, settings, …"""
    from harness.catalogue import CATALOGUE

    if kind is None:
        entries = {name: noun for name, (noun, _) in CATALOGUE.items()}
    elif kind in CATALOGUE:
        entries = CATALOGUE[kind][1]()
    else:
        raise unknown_name("kind", kind, CATALOGUE)
    if as_json:
        _print_json(entries)
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, description in entries.items():
        table.add_row(name, description)
    _stdout().print(table, markup=False, highlight=False)


def main() -> NoReturn:
    """Run the command line: problems a user can solve are one line and exit code 2."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except (HarnessError, OSError) as error:  # an OSError names its file
        code = _complain(str(error))
    except _UsageError as error:
        code = _complain(error.format_message())
    except typer.Abort:
        code = 130
    except Exception as error:  # a store's troubles are the user's, any other is ours
        told = recording_error("this", error)
        if not isinstance(told, HarnessError):
            raise
        code = _complain(str(told))
    sys.exit(code)


def _complain(problem: str) -> int:
    print(f"error: {' '.join(problem.split())}", file=sys.stderr)
    return 2


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C and a polite kill end a command alike: states recorded, exit code 130."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted: all states are recorded", file=sys.stderr)
        raise typer.Exit(130) from None


def _workspace(data_dir: Path | None, tracking_uri: str | None, storage: str | None) -> Workspace:
    return Workspace.locate(data_dir=data_dir, tracking_uri=tracking_uri, storage_url=storage)


def _display(quiet: bool) -> Callable[[str], Display]:
    from rich.console import Console

    from harness.work.display import display

    return lambda metric: display(Console(stderr=True), metric, quiet=quiet)


def _stdout() -> Console:
    from rich.console import Console

    console = Console()
    # Where nobody looks on, there is no width to fit into.
    return console if console.is_terminal else Console(width=160)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _print_summary(summary: StudySummary) -> None:
    from rich.table import Table

    from harness.results.summary import describe

    print(f"{summary.name}: {summary.question}")
    table = Table()
    score = f"test {summary.figure.label}"
    for column in ("arm", "search", "best validation", "confirm", "settings", score, "median"):
        table.add_column(column)
    for arm in summary.arms:
        settings = arm.settings or {}
        table.add_row(
            arm.name,
            ", ".join(f"{count} {state}" for state, count in arm.search_outcomes.items()) or "-",
            "-" if arm.best_validation is None else f"{arm.best_validation:.3g}",
            ", ".join(f"{count} {state}" for state, count in arm.confirm_outcomes.items()) or "-",
            ", ".join(f"{key} = {_short(value)}" for key, value in settings.items()) or "-",
            describe(arm) if arm.scores else "-",
            "-" if arm.median is None else f"{arm.median:.3g}",
        )
    console = _stdout()
    console.print(table)
    floor = "" if summary.floor is None else f"; real against real scores {summary.floor:.3g}"
    print(f"Metric: {summary.metric}, {summary.figure.direction()}{floor}.")
    for sentence in summary.answer():
        print(sentence)
    if summary.complete:
        print("The study is complete.")
    else:
        print("The study is not complete; the same `harness run` command goes on.")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _dry_run(
    name: str,
    study: StudyConfig,
    workspace: Workspace,
    device: str,
    threads: int | None,
    workers: int | None,
    as_json: bool,
) -> None:
    from harness.launch import plan_execution, preview

    execution = plan_execution(name, workspace, device, threads, workers)
    plan = preview(name, study, workspace, execution, workers)
    if as_json:
        _print_json(plan)
        return
    print(f"{name}: {study.question}")
    for arm in plan["arms"]:
        tuned = ", ".join(arm["tuned"]) or "nothing"
        print(
            f"  {arm['name']}: {arm['search_runs']} search + {arm['confirm_runs']} confirm runs, "
            f"tuned: {tuned}, about {arm['hours']:.2g} h of one worker"
        )
    for refused, reason in plan["refused"].items():
        print(f"  refused: {refused}: {reason}")
    print(
        f"{plan['runs']} runs, about {plan['hours']:.2g} h with {plan['workers']} worker(s) on "
        f"{plan['device']} with {plan['threads']} thread(s) each, in {plan['precision']}"
        + (f" ({plan['precision_reason']})" if plan["precision_reason"] else "")
    )
    least = plan["smallest_p"]
    ranked = "nothing is ranked" if least is None else f"least attainable p {least:.2g}"
    print(f"metric {plan['metric']}, {ranked}")


if __name__ == "__main__":
    main()

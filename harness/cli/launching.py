"""Commands that train: a study, one run by hand, and a recorded run again."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import (
    DataDir,
    Device,
    Json,
    Plugins,
    PresetName,
    Quiet,
    Settings,
    StorageUrl,
    Threads,
    TrackingUri,
    Workers,
    locate,
)
from harness.cli.output import preparing, print_json, print_page, progress
from harness.errors import HarnessError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.records.workspace import Workspace
    from harness.study.study import StudyConfig


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
    underpowered: Annotated[
        bool, typer.Option(help="Start it even if no result could resolve anything.")
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
    from harness.results.page import page_of
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
    workspace = locate(data_dir, tracking_uri, storage)
    study_name = check_name(name or default_name)
    if dry_run:
        with preparing(quiet):
            _dry_run(study_name, study, workspace, device, threads, workers, as_json)
        study.arms()  # refuses what would not be run either
        return
    with _interruptible(), preparing(quiet):
        summary = run_study(
            study_name,
            study,
            workspace,
            device=device,
            threads=threads,
            workers=workers,
            retry_failed=retry_failed,
            underpowered=underpowered,
            source=study_file.read_text(),
            display=progress(quiet),
        )
    if as_json:
        print_json(summary.to_json())
    else:
        print_page(page_of(summary))


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
        print_json(plan)
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
    is_cut = plan["refused"] and not plan["num_tests"] and not study.descriptive
    print(f"metric {plan['metric']}" + (f", {_power(plan)}" if not is_cut else ""))


def _power(plan: Mapping[str, Any]) -> str:
    """Return what a plan can find, in words."""
    from harness.results.power import is_underpowered
    from harness.results.spelling import counted

    least, seeds = plan["smallest_p"], " and ".join(map(str, plan["looks"]))
    if least is None:
        return "nothing is ranked"
    tests = counted(plan["num_tests"], "test")
    text = f"{tests} at {seeds} seeds per arm, least attainable p {least:.2g}"
    if is_underpowered(least):
        return f"{text}: UNDERPOWERED, no result could resolve anything (see --underpowered)"
    if (shift := plan["smallest_shift"]) is not None:
        text += f"; differences of {shift:.2g} sd of a run are found with 80 % power"
    if len(plan["looks"]) > 1:
        able = [str(n) for n, can in zip(plan["looks"], plan["can_decide"], strict=True) if can]
        text += f"; a first decision is possible at {', '.join(able)} seeds"
    return text


def train(
    settings: Settings = None,
    preset: PresetName = None,
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
    with _interruptible(), preparing(quiet):
        run_id, result = train_once(
            config,
            parse(EvaluateConfig, evaluate, "--set evaluate"),
            locate(data_dir, tracking_uri, storage),
            device=device,
            threads=threads,
            precision=precision,  # type: ignore[arg-type]
            display=progress(quiet),
        )
    if as_json:
        scores = dict(result.scores)
        print_json({"run_id": run_id, "outcome": result.outcome, "scores": scores})
        return
    print(f"run {run_id}: {result.outcome}" + (f" ({result.reason})" if result.reason else ""))
    for key, value in result.scores.items():
        print(f"  {key}  {value:.5g}")


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

    with preparing(quiet):
        result = reproduce_run(
            run_id,
            locate(data_dir, tracking_uri, None),
            tolerance=tolerance,
            display=progress(quiet),
            tell=(lambda line: None) if as_json else lambda line: print(line, flush=True),
        )
    if as_json:
        print_json(result.to_json())
    else:
        print("\n".join(result.describe()))
    raise typer.Exit(0 if result.reproduced else 1)


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

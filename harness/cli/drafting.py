"""The command that writes a study file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from harness.cli.options import Plugins, Settings
from harness.errors import HarnessError

T = TypeVar("T")


def new(
    study_file: Annotated[Path, typer.Argument(help="The file to write, e.g. mine.toml.")],
    dataset: Annotated[
        str | None, typer.Option(help="digits, mnist, folder:PATH, …; see `harness list datasets`.")
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B", help="A factor and its levels; repeatable. `nothing`: one search."
        ),
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY[=A,B|=LOW..HIGH]",
            help="What is tuned, as values or a range; repeatable. `nothing`: no search.",
        ),
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Real images shown in a run.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Search trials per arm.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Confirm runs per arm [default: enough, 5 or more].")
    ] = None,
    settings: Settings = None,
    question: Annotated[str | None, typer.Option(help="What the study asks.")] = None,
    plugins: Plugins = None,
) -> None:
    """Write a commented study file; on a terminal it asks for what no option says."""
    from harness.draft import (
        Draft,
        check_new,
        default_compare,
        default_tune,
        read_compare,
        read_dataset,
        read_fixed,
        read_tune,
        usual_batch,
        usual_images,
        write_draft,
    )

    check_new(study_file)
    fixed = read_fixed(settings or [])
    data = _answer("Dataset", dataset, "digits", read_dataset)
    factors = _answer(
        "Compare (KEY=A,B; several with spaces between; or nothing)",
        compare,
        " ".join(_spell(*item) for item in default_compare(fixed, data).items()) or "nothing",
        lambda text: read_compare(text.split()),
        read_compare,
    )
    system = str(fixed.get("system", "gan"))
    space = _answer(
        "Tune (KEY, KEY=A,B or KEY=LOW..HIGH; several with spaces between; or nothing)",
        tune,
        " ".join(default_tune(factors, fixed, data)) or "nothing",
        lambda text: read_tune(text.split(), system),
        lambda texts: read_tune(texts, system),
    )
    number = _answer("Real images shown in a run", images, str(usual_images(data)), _whole, int)
    draft = Draft(
        dataset=data,
        compare=factors,
        space=space,
        fixed=usual_batch({**fixed, **factors, **space}) | fixed,
        images=number,
        trials=trials or (8 if factors else 40),
        seeds=seeds,
        question=question or "",
    )
    write_draft(draft, study_file)
    print(f"{study_file} is written. Next: harness run {study_file} --dry-run")


def _answer(
    question: str,
    given: Any,
    default: str,
    read: Callable[[str], T],
    read_given: Callable[..., T] | None = None,
) -> T:
    """Return what an option says, else a person at a terminal, else the default."""
    if given is not None:
        return (read_given or read)(given)
    if not sys.stdin.isatty():
        return read(default)

    def asked(text: str) -> T:
        try:
            return read(text)
        except HarnessError as error:
            raise typer.BadParameter(str(error)) from None  # it is asked again

    return typer.prompt(question, default=default, value_proc=asked)  # type: ignore[no-any-return]


def _whole(text: str) -> int:
    digits = text.replace("_", "").replace(",", "")
    if not digits.isdecimal() or int(digits) < 1:
        raise HarnessError(f"{text!r}: a whole number from 1 is expected")
    return int(digits)


def _spell(key: str, levels: list[object]) -> str:
    return f"{key}={','.join(map(str, levels))}"

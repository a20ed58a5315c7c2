"""The command line: thin, and quick to start, since every command imports what it needs itself."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

from harness.cli import drafting, generators, keeping, launching, reading, watching
from harness.errors import HarnessError, recording_error

# What every wrong option or argument raises; typer gives only this subclass a public name.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    help="GAN ablation studies that end with a trustworthy answer.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"harness {version('gan-ablation-harness')} (torch {version('torch')})")
        raise typer.Exit


@app.callback()
def _harness(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Say the version, and torch's.",
        ),
    ] = False,
) -> None:
    pass


# In the order of `harness --help`: through a study from its start to what becomes of it.
app.command()(drafting.new)
app.command()(launching.run)
app.command()(launching.train)
app.command()(reading.status)
app.command()(watching.watch)
app.command()(reading.ui)
app.command()(generators.export)
app.command()(launching.reproduce)
app.command()(reading.report)
app.command()(generators.sample)
app.command()(generators.score)
app.command(name="list")(reading.list_)
app.command()(keeping.rename)
app.command()(keeping.rm)


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

"""Commands on what was generated: export a generator, draw samples from it, score images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    DataDir,
    Device,
    Json,
    Plugins,
    StorageUrl,
    StudyName,
    TrackingUri,
    locate,
)
from harness.cli.output import preparing, print_json, stdout
from harness.errors import unknown_name


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

    result = export_best(study, output, locate(None, tracking_uri, storage), arm)
    if as_json:
        print_json(
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


def sample(
    folder: Annotated[Path, typer.Argument(help="An exported generator.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png picture or .npz array.")],
    num_samples: Annotated[
        int | None,
        typer.Option("-n", "--num-samples", min=1, help="[default: 64, or all that are given]."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="One seed, one set of samples.")] = 0,
    label: Annotated[
        int | None, typer.Option("--class", help="Samples of this class only.")
    ] = None,
    given: Annotated[
        Path | None,
        typer.Option("--input", help="Images to translate: a folder, or a .npz with `images`."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="The network that leads back, say [default: the scored one].")
    ] = None,
    psi: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the way from the mean style, where there is one."
        ),
    ] = None,
    truncation: Annotated[
        float | None, typer.Option(help="Largest size of a part of normal latents.")
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Draw samples from an exported generator."""
    from harness.results.export import check_sample_file, write_samples
    from harness.results.export import sample as draw

    check_sample_file(output)
    samples = draw(
        folder,
        num_samples,
        seed,
        label=label,
        given=given,
        network=network,
        psi=psi,
        truncation=truncation,
    )
    write_samples(samples, output, folder)
    if given is not None:
        print(f"{len(samples)} translations of images of {given}: {output}")
        return
    of_class = "" if label is None else f" of class {label}"
    print(f"{len(samples)} samples{of_class} of seed {seed}: {output}")


def score(
    images: Annotated[Path, typer.Argument(help="A .npz with `images` or `points`, or a folder.")],
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
    """Score images or points that somebody else made, by the protocol that runs are scored by."""
    from harness.results.score import score_images
    from harness.run.execution import resolve_device

    if split not in ("test", "validation"):
        raise unknown_name("--split", split, ["test", "validation"])
    with preparing():
        result = score_images(
            images,
            dataset,
            locate(data_dir, None, None),
            split=split,  # type: ignore[arg-type]
            ruler=ruler,
            samples=samples,
            image_size=image_size,
            device=resolve_device(device),
        )
    if as_json:
        print_json(result.to_json())
        return
    from rich.table import Table

    from harness.results.spelling import number, plus_minus

    table = Table()
    noun = result.noun
    for column in (f"{split}, {result.protocol}", noun, f"real {noun}", "best"):
        table.add_column(column)
    for line in result.lines:
        floor = plus_minus(line.floor, line.floor_sd)
        table.add_row(line.figure.label, number(line.value), floor, line.figure.direction())
    stdout().print(table)
    if result.num_images < result.num_given:
        print(f"{result.num_images:,} of {result.num_given:,} {noun} were scored, drawn at random.")

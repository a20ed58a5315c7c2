"""The best generator of a study as a folder that others can load, and samples from it."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.data import kind_of
from harness.data.given import read_samples
from harness.data.pictures import MAX_CLASSES, Picture, png
from harness.errors import HarnessError, unknown_name
from harness.evaluate.metric import figure_of
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace, check_replaceable, replaced_folder
from harness.run.runner import GRID_KEY
from harness.study.definition import Definition
from harness.systems import GeneratorSpec, generate, load_generator, parse_config, system_of
from harness.systems.generator import (
    SPEC_FILE,
    WEIGHTS_FILE,
    generator_files,
    network_file,
    read_spec,
)
from harness.systems.styles import find_styles, truncate
from harness.work.board import open_study
from harness.work.cell import CellRecord
from harness.work.notes import note_display

CARD_FILE = "README.md"
GRID_FILE = "samples.png"
RECORD_FILE = "record.json"
DEFAULT_SAMPLES = 64
FILES = {CARD_FILE, GRID_FILE, RECORD_FILE}  # beside the generator's own


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was exported.

    Attributes:
        folder: Where to.
        arm: The arm it comes from.
        run_id: The MLflow run.
        scores: Final scores by protocol key.
    """

    folder: Path
    arm: str
    run_id: str
    scores: dict[str, float]


def export_best(name: str, folder: Path, workspace: Workspace, arm: str | None = None) -> Export:
    """Write the confirm run that is best on *validation* images to `folder`.

    Its test score is stated, never selected on. The folder holds the weights of all the system's
    networks (safetensors), a description that rebuilds the generator, the record of its run, a
    sample grid and a model card.

    Args:
        name: The study.
        folder: Created, or replaced if it is an earlier export.
        workspace: Where the study lives.
        arm: Only this arm; None: any.

    Raises:
        HarnessError: Unknown study or arm, no arm named of a descriptive study, no confirm run with
            a score yet, or a folder in the way.
    """
    opened = open_study(name, workspace)
    definition, study = opened.definition, opened.study
    check_replaceable(folder, FILES | generator_files(folder), SPEC_FILE)
    states = opened.board.states()
    note_display(opened, states, "harness export")
    if arm is not None and arm not in [state.arm.name for state in states]:
        raise unknown_name("arm", arm, [state.arm.name for state in states])
    if study.descriptive and arm is None and len(states) > 1:
        raise HarnessError(
            f"study {name!r} is descriptive, so no arm of it is best: choose one with --arm "
            f"({', '.join(state.arm.name for state in states)})"
        )
    runs = [
        (record, state.arm.name)
        for state in states
        for record in state.confirm
        if record.value is not None and arm in (None, state.arm.name)
    ]
    if not runs:
        raise HarnessError(f"study {name!r} has no confirm run with a score yet; nothing to export")
    figure = figure_of(definition.objective)
    record, arm_name = min(runs, key=lambda run: figure.cost(run[0].value))
    run_id = next(iter(record.run_ids.values()))
    tracker = Tracker(workspace)
    facts = {
        "study": name,
        "question": study.question,
        "arm": arm_name,
        "run_id": run_id,
        "dataset": study.dataset,
        "dataset_digest": definition.dataset_digest,
        "scores": dict(record.scores),
        "settings": tracker.settings(run_id),
    }
    with tracker.generator_folder(run_id) as files:
        recorded = functools.partial(tracker.grids, run_id, last_only=True)
        _write(folder, files, facts, definition, record, recorded)
    return Export(folder=folder, arm=arm_name, run_id=run_id, scores=dict(record.scores))


def sample(
    folder: Path,
    num_samples: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    label: int | None = None,
    given: Path | None = None,
    network: str | None = None,
    psi: float | None = None,
    truncation: float | None = None,
) -> Tensor:
    """Return samples of an exported generator as they are stored, the same for one seed: images
    (num_samples, C, H, W) uint8, or points (num_samples, d) float32.

    Args:
        folder: The export.
        num_samples: How many; None: 64, or of all the images that are given.
        seed: One seed, one set of samples.
        device: Where they are computed.
        label: The class that all are asked of; None: any.
        given: Images to translate: a folder, or `.npz` with (N, C, H, W) uint8 under `images`.
        network: Which of the generator's networks; None: the one that is scored.
        psi: Share in [0, 1] of the way from the mean style; None: as it was trained for.
        truncation: Largest size of a part of normal latents; None: as it was trained for.

    Raises:
        HarnessError: The folder is not an export or is damaged, makes no samples of this class or
            by this network, has no styles to be truncated, or it translates images and none are
            given, or the other way round.
    """
    generator, spec = load_generator(folder, network)
    if psi is not None:
        truncate(generator, psi)
    if truncation is not None:
        spec = spec.truncated(truncation)
    sources = None if given is None else _sources(folder, spec, given, network)
    if spec.translates and sources is None:
        raise HarnessError(
            f"{folder} translates images and none are given: name a folder or a .npz file with "
            "--input"
        )
    if sources is not None:
        num_samples = min(num_samples or len(sources), len(sources))
    inputs = spec.draw_inputs(num_samples or DEFAULT_SAMPLES, seed, label, sources)
    return generate(generator.to(device), inputs)


def _sources(folder: Path, spec: GeneratorSpec, place: Path, network: str | None) -> Tensor:
    """Return the images that a network is to translate, in the shape that it takes."""
    if spec.source_shape is None:
        raise HarnessError(
            f"--input {place}: {folder} translates no images, its samples come from a seed"
        )
    there = network in (None, spec.networks[0])
    images = read_samples(place, spec.source_shape if there else spec.sample_shape, str(folder))
    if not len(images):
        raise HarnessError(f"--input {place}: there is no image")
    return images


def check_sample_file(file: Path) -> None:
    """Raise HarnessError for a file type that samples are not written as."""
    if file.suffix not in (".png", ".npz"):
        raise HarnessError(f"--output {file}: allowed are files ending in .png or .npz")


def write_samples(samples: Tensor, file: Path, folder: Path) -> None:
    """Write samples, as `sample` returns them, into a file.

    Args:
        samples: Images or points.
        file: `.png` for a picture, `.npz` for an array under what they are called, `images` or
            `points`.
        folder: The export that they come from.
    """
    check_sample_file(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = kind_of(samples.shape[1:])
    if file.suffix == ".png":
        png(kind.picture(samples, read_spec(folder).density)).save(file)
    else:
        arrays: dict[str, Any] = {kind.noun: samples.numpy()}
        np.savez_compressed(file, **arrays)


def _write(
    folder: Path,
    files: Path,
    facts: dict[str, Any],
    definition: Definition,
    record: CellRecord,
    recorded: Callable[[str], Mapping[int, Picture]],
) -> None:
    """Write the generator, its record, samples and card.

    Args:
        folder: Where to.
        files: The generator's own.
        facts: Of its run.
        definition: Its study.
        record: What the study knows of the run.
        recorded: Finds the run's last picture of a kind, shown where new samples would need images
            to translate.
    """
    with replaced_folder(folder) as new:
        shutil.copytree(files, new, dirs_exist_ok=True)
        (new / RECORD_FILE).write_text(json.dumps(facts, indent=2) + "\n")
        generator, spec = load_generator(new)
        if not spec.translates:
            picture = _grid(generator, spec)
        elif found := recorded(_shown(spec)[0]):
            picture = next(iter(found.values()))
        else:
            raise HarnessError(
                f"MLflow lacks the pictures of run {facts['run_id']}: restore them there"
            )
        png(picture).save(new / GRID_FILE)
        (new / CARD_FILE).write_text(
            _card(facts, spec, definition, record, styled=find_styles(generator) is not None)
        )


def _grid(generator: nn.Module, spec: GeneratorSpec) -> Picture:
    """Return a picture of samples of seed 0: a row per class where a class can be asked for."""
    kind, density = spec.facts.kind, spec.density
    if not spec.is_conditional:
        samples = generate(generator, spec.draw_inputs(kind.num_shown, 0))
        return kind.picture(samples, density)
    num_rows = min(spec.num_classes, MAX_CLASSES)
    rows = [
        generate(generator, spec.draw_inputs(kind.num_per_class, 0, label))
        for label in range(num_rows)
    ]
    classes = torch.arange(num_rows).repeat_interleave(kind.num_per_class)
    return kind.picture_by_class(torch.cat(rows), classes, num_rows, density)


def _shown(spec: GeneratorSpec) -> tuple[str, str]:
    """Return the kind of a run's pictures that shows what was translated, and what they show."""
    pictures = system_of(spec.config).pictures(parse_config(spec.config, SPEC_FILE))
    return next(iter(pictures.items()), (GRID_KEY, "translations of held-out images"))


def _card(
    facts: dict[str, Any],
    spec: GeneratorSpec,
    definition: Definition,
    record: CellRecord,
    *,
    styled: bool,
) -> str:
    """Return the model card; `styled`: the generator has styles."""
    figure = figure_of(definition.objective)
    options = "".join(f" --plugin {name}.py" for name in definition.plugins)
    floor = "none" if definition.floor is None else f"{definition.floor:.5g}"
    scores = "\n".join(f"| `{key}` | {value:.5g} |" for key, value in facts["scores"].items())
    point = ", ".join(f"{key} = {value}" for key, value in (record.cell.point or {}).items())
    settings = "\n".join(f"| `{key}` | {value} |" for key, value in facts["settings"].items())
    sampled = spec.networks[0]
    others = "".join(
        f"| `{network_file(name)}` | weights of the network `{name}` |\n" for name in spec.others
    )
    shown = "Samples of seed 0, not selected."
    if spec.translates:
        shown = f"At the end of the run: {_shown(spec)[1]}. Not selected."
    elif spec.is_conditional:
        shown = f"Samples of seed 0, {spec.facts.kind.by_class}, not selected."
    return f"""# Generator from the study `{facts["study"]}`

**Question of the study:** {facts["question"]}

This is the confirm run with the best validation {figure.label}, of arm `{facts["arm"]}`
({point or "nothing tuned"}; training seed {record.cell.seeds[0]}; MLflow run `{facts["run_id"]}`).
It is the best of several seeds: the arm's expected score is the mean that the study reports.

![samples]({GRID_FILE})

{shown}

## Scores

Keys name split, metric, feature extractor and number of samples. Test statistics took no part in
any choice.

| metric | value |
|---|---|
{scores}
| `{definition.metric}`, real against real | {floor} |

## Data

`{facts["dataset"]}`, digest `{facts["dataset_digest"]}`.

## Files

| file | what |
|---|---|
| `{WEIGHTS_FILE}` | weights of the network `{sampled}`, which is scored and sampled from |
{others}| `{SPEC_FILE}` | settings and hashes, which rebuild it |
| `{RECORD_FILE}` | its run: study, data, scores, settings |
| `{GRID_FILE}` | the samples above |

## Use

{_use(spec, options)}{_TRUNCATION * styled}

## Settings

| key | value |
|---|---|
{settings}
"""


_TRUNCATION = """

`harness sample DIR --psi 0.7` draws styles nearer to their mean: samples are surer and less
diverse. The scores above are with `g_psi` of the settings below."""


def _use(spec: GeneratorSpec, options: str) -> str:
    """Return how samples are drawn, or images translated: as commands and in Python."""
    sampled, *others = spec.networks
    kind, made = spec.facts.kind, ", ".join(map(str, (16, *spec.sample_shape)))
    in_range = " in [-1, 1]" * kind.bounded
    if spec.source_shape is not None:
        asked, inputs = "--input IMAGES", "16, seed=0, sources=sources"
        shape = ", ".join(map(str, spec.source_shape))
        sources = f"sources = torch.zeros(16, {shape}, dtype=torch.uint8)  # those to translate\n"
        imported = "\nimport torch\n"
    else:
        imported, sources = "", ""
        asked = "-n 64 --class 3" if spec.is_conditional else "-n 64"
        inputs = "16, seed=0, label=3" if spec.is_conditional else "16, seed=0"
    back = "".join(
        f"\n\nImages are a folder, or a .npz file with an array `images`. The way back: `harness "
        f"sample DIR --network {name} --input IMAGES -o grid.png{options}`, in Python "
        f'`load_generator(Path("DIR"), "{name}")`.'
        for name in others
    )
    return f"""`harness sample DIR {asked} -o grid.png{options}`, or in Python:

```python
from pathlib import Path
{imported}
from harness import load_generator, load_network

generator, spec = load_generator(Path("DIR"))
{sources}{kind.noun} = generator(*spec.draw_inputs({inputs}))  # ({made}){in_range}
weights = load_network(Path("DIR"), "{sampled}")  # tensors by name; so of every network above
```{back}"""

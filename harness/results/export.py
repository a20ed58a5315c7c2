"""The best generator of a study as a folder that others can load, and samples from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from harness.data.pictures import MAX_CLASSES, class_grid, image_grid, png
from harness.errors import HarnessError, unknown_name
from harness.evaluate.metric import figure_of
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace, check_replaceable, replaced_folder
from harness.study.definition import Definition
from harness.systems import GeneratorSpec, generate, load_generator, parse_config, system_of
from harness.systems.generator import SPEC_FILE, WEIGHTS_FILE, generator_files, network_file
from harness.systems.styles import truncate
from harness.work.board import open_study
from harness.work.cell import CellRecord

CARD_FILE = "README.md"
GRID_FILE = "samples.png"
RECORD_FILE = "record.json"
FILES = {CARD_FILE, GRID_FILE, RECORD_FILE}  # beside the generator's own
GRID_SAMPLES = 64
SAMPLES_PER_CLASS = 10


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
        "settings": tracker.params(run_id),
    }
    with tracker.generator_folder(run_id) as files:
        _write(folder, files, facts, definition, record)
    return Export(folder=folder, arm=arm_name, run_id=run_id, scores=dict(record.scores))


def sample(
    folder: Path,
    num_samples: int,
    seed: int = 0,
    device: str = "cpu",
    label: int | None = None,
    truncation: float | None = None,
) -> Tensor:
    """Return images (num_samples, C, H, W) uint8 of an exported generator, the same for one seed.

    Args:
        folder: The export.
        num_samples: How many.
        seed: One seed, one set of samples.
        device: Where they are computed.
        label: The class that all are asked of; None: any.
        truncation: Share psi in [0, 1] of the way from the mean style; None: as it was trained for.

    Raises:
        HarnessError: The folder is not an export or is damaged, makes no samples of this class, or
            has no styles to be truncated.
    """
    generator, spec = load_generator(folder)
    if truncation is not None:
        truncate(generator, truncation)
    generator.to(device)
    return generate(generator, spec.draw_inputs(num_samples, seed, label))


def check_sample_file(file: Path) -> None:
    """Raise HarnessError for a file type that samples are not written as."""
    if file.suffix not in (".png", ".npz"):
        raise HarnessError(f"--output {file}: allowed are files ending in .png or .npz")


def write_samples(images: Tensor, file: Path) -> None:
    """Write images as a grid (.png) or as an array `images`, (N, C, H, W) uint8 (.npz)."""
    check_sample_file(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".png":
        png(image_grid(images)).save(file)
    else:
        np.savez_compressed(file, images=images.numpy())


def _write(
    folder: Path,
    files: Path,
    facts: dict[str, Any],
    definition: Definition,
    record: CellRecord,
) -> None:
    """Write the generator, its record, samples and card."""
    with replaced_folder(folder) as new:
        shutil.copytree(files, new, dirs_exist_ok=True)
        (new / RECORD_FILE).write_text(json.dumps(facts, indent=2) + "\n")
        generator, spec = load_generator(new)
        png(_grid(generator, spec)).save(new / GRID_FILE)
        (new / CARD_FILE).write_text(_card(facts, spec, definition, record))


def _grid(generator: nn.Module, spec: GeneratorSpec) -> npt.NDArray[np.uint8]:
    """Return a picture of samples of seed 0: a row per class where a class can be asked for."""
    if not spec.is_conditional:
        return image_grid(generate(generator, spec.draw_inputs(GRID_SAMPLES, 0)))
    num_rows = min(spec.num_classes, MAX_CLASSES)
    rows = [
        generate(generator, spec.draw_inputs(SAMPLES_PER_CLASS, 0, label))
        for label in range(num_rows)
    ]
    classes = torch.arange(num_rows).repeat_interleave(SAMPLES_PER_CLASS)
    return class_grid(torch.cat(rows), classes, SAMPLES_PER_CLASS)


def _card(
    facts: dict[str, Any], spec: GeneratorSpec, definition: Definition, record: CellRecord
) -> str:
    """Return the model card."""
    figure = figure_of(definition.objective)
    options = "".join(f" --plugin {name}.py" for name in definition.plugins)
    floor = "none" if definition.floor is None else f"{definition.floor:.5g}"
    scores = "\n".join(f"| `{key}` | {value:.5g} |" for key, value in facts["scores"].items())
    point = ", ".join(f"{key} = {value}" for key, value in (record.cell.point or {}).items())
    settings = "\n".join(f"| `{key}` | {value} |" for key, value in facts["settings"].items())
    sampled = system_of(spec.config).sampled(parse_config(spec.config, SPEC_FILE))
    others = "".join(
        f"| `{network_file(name)}` | weights of the network `{name}` |\n" for name in spec.others
    )
    rows, a_class, label = "", "", ""
    if spec.is_conditional:
        rows, a_class, label = " a row per class,", " --class 3", ", label=3"
    return f"""# Generator from the study `{facts["study"]}`

**Question of the study:** {facts["question"]}

This is the confirm run with the best validation {figure.label}, of arm `{facts["arm"]}`
({point or "nothing tuned"}; training seed {record.cell.seeds[0]}; MLflow run `{facts["run_id"]}`).
It is the best of several seeds: the arm's expected score is the mean that the study reports.

![samples]({GRID_FILE})

Samples of seed 0,{rows} not selected.

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

`harness sample DIR -n 64{a_class} -o grid.png{options}`, or in Python:

```python
from pathlib import Path

from harness import load_generator, load_network

generator, spec = load_generator(Path("DIR"))
images = generator(*spec.draw_inputs(16, seed=0{label}))  # (16, C, H, W) in [-1, 1]
weights = load_network(Path("DIR"), "{sampled}")  # tensors by name; so of every network above
```

## Settings

| key | value |
|---|---|
{settings}
"""

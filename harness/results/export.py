"""The best generator of a study as a folder that others can load, and samples from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.data.pictures import MAX_CLASSES, Picture, png
from harness.errors import HarnessError, unknown_name
from harness.evaluate.metric import figure_of
from harness.records.tracking import Tracker
from harness.records.workspace import Workspace, check_replaceable, replaced_folder
from harness.study.definition import Definition
from harness.systems import GeneratorSpec, generate, load_generator, parse_config, system_of
from harness.systems.generator import SPEC_FILE, WEIGHTS_FILE, generator_files, network_file
from harness.work.board import open_study
from harness.work.cell import CellRecord

CARD_FILE = "README.md"
GRID_FILE = "samples.png"
RECORD_FILE = "record.json"
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
    folder: Path, num_samples: int, seed: int = 0, device: str = "cpu", label: int | None = None
) -> Tensor:
    """Return samples of an exported generator as they are stored, the same for one seed: images
    (num_samples, C, H, W) uint8, or points (num_samples, d) float32.

    Args:
        folder: The export.
        num_samples: How many.
        seed: One seed, one set of samples.
        device: Where they are computed.
        label: The class that all are asked of; None: any.

    Raises:
        HarnessError: The folder is not an export or is damaged, or makes no samples of this class.
    """
    generator, spec = load_generator(folder)
    return generate(generator.to(device), spec.draw_inputs(num_samples, seed, label))


def check_sample_file(file: Path) -> None:
    """Raise HarnessError for a file type that samples are not written as."""
    if file.suffix not in (".png", ".npz"):
        raise HarnessError(f"--output {file}: allowed are files ending in .png or .npz")


def write_samples(
    folder: Path, file: Path, num_samples: int, seed: int = 0, label: int | None = None
) -> None:
    """Write samples of an exported generator (see `sample`) into a file.

    Args:
        folder: The export.
        file: `.png` for a picture, `.npz` for an array under what samples are called, `images` or
            `points`.
        num_samples: How many.
        seed: One seed, one set of samples.
        label: The class that all are asked of; None: any.
    """
    check_sample_file(file)
    generator, spec = load_generator(folder)
    samples = generate(generator, spec.draw_inputs(num_samples, seed, label))
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = spec.facts.kind
    if file.suffix == ".png":
        png(kind.picture(samples, spec.density)).save(file)
    else:
        arrays: dict[str, Any] = {kind.noun: samples.numpy()}
        np.savez_compressed(file, **arrays)


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
    return kind.picture_by_class(torch.cat(rows), classes, density)


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
    kind, shape = spec.facts.kind, ", ".join(map(str, (16, *spec.sample_shape)))
    in_range = " in [-1, 1]" * kind.bounded
    rows, a_class, label = "", "", ""
    if spec.is_conditional:
        rows, a_class, label = f" {kind.by_class},", " --class 3", ", label=3"
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
{kind.noun} = generator(*spec.draw_inputs(16, seed=0{label}))  # ({shape}){in_range}
weights = load_network(Path("DIR"), "{sampled}")  # tensors by name; so of every network above
```

## Settings

| key | value |
|---|---|
{settings}
"""

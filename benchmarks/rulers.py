"""What do rulers see? Planted faults and real generators under every metric.

`python benchmarks/rulers.py --data-dir data --generators generators` scores, on MNIST's test part
at n = 10,000 (`--dataset digits`: 400): real training images, tables of K of them replayed, the
most typical ones, noise, blur, a faint checkerboard, copies, dropped classes; and the generators
that `--train` has made before. It prints the tables of docs/rulers.md and writes all numbers as
JSON; what that file holds already is not scored again. Of second rulers there are FID and
neighbourhoods alone.

Generators are ranked by each ruler's FID, and that ranking is compared (Kendall's tau) with those
by coverage and precision in two spaces that no ruler was trained in: principal components of
pixels, and an untrained convolutional network.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from harness.data import Dataset, load_dataset, to_unit_range
from harness.evaluate import Compared, EvaluateConfig, Evaluator
from harness.evaluate.judge import MEASURED
from harness.evaluate.metric import is_judge
from harness.evaluate.metrics.neighbourhoods import neighbourhoods
from harness.randomness import seeded
from harness.run.loop import Measured, train
from harness.systems import SYSTEMS, draw_inputs, generate, parse_config

Rows = dict[str, dict[str, float]]
"""Images -> figure -> value."""

NUM = 10_000
DRAWS = 3
MLP, DC = {"architecture": "mlp"}, {"architecture": "dc"}
TUNED = {"batch_size": 128, "seed": 2}  # the example's confirmed settings
TO_TRAIN: dict[str, tuple[dict[str, Any], int, int, set[int]]] = {
    "mlp_0": (MLP | {"seed": 0}, 3_000_000, 1, {1}),
    "mlp_1": (MLP | {"seed": 1}, 1_500_000, 16, {1, 3}),
    "dc_1": (DC | {"seed": 1}, 1_200_000, 16, {1, 4, 8}),
    "mlp_tuned": (MLP | TUNED | {"g_lr": 1.04e-3, "d_lr": 1.45e-4}, 600_000, 2, {1, 2}),
    "dc_tuned": (DC | TUNED | {"g_lr": 1.18e-3, "d_lr": 1.05e-3}, 600_000, 4, {2}),
}
"""Name -> settings, images, their equal parts, after which of these samples are kept."""


def drawn(images: Tensor, seed: int, num: int) -> Tensor:
    """Return `num` of the images, without repetition where there are so many."""
    images = images.repeat(-(-num // len(images)), 1, 1, 1)
    generator = torch.Generator().manual_seed(seed)
    return images[torch.randperm(len(images), generator=generator)[:num]]


def replay(dataset: Dataset, size: int, seed: int, num: int) -> Tensor:
    """Return `num` draws from a table of `size` training images."""
    generator = torch.Generator().manual_seed(seed)
    table = dataset.train.images[torch.randperm(len(dataset.train), generator=generator)[:size]]
    return table[torch.randint(size, (num,), generator=generator)]


def noisy(images: Tensor, sd: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(7))
    return (images + sd * noise).round().clamp(0, 255).to(torch.uint8)


def checkered(images: Tensor, height: int) -> Tensor:
    rows, columns = torch.arange(images.shape[2])[:, None], torch.arange(images.shape[3])
    board = ((rows + columns) % 2 * 2 - 1) * height
    return (images.int() + board).clamp(0, 255).to(torch.uint8)


def typical(dataset: Dataset, num: int, share: float = 0.25) -> Tensor:
    """Return `num` of the training images nearest to their class's mean image."""
    images, labels = dataset.train.images, dataset.train.labels
    assert labels is not None
    kept = []
    for label in labels.unique():
        members = images[labels == label].float()
        order = (members - members.mean(dim=0)).flatten(1).norm(dim=1).argsort()
        kept.append(members[order[: round(share * len(members))]].to(torch.uint8))
    return drawn(torch.cat(kept), 0, num)


def without(dataset: Dataset, *classes: int, num: int) -> Tensor:
    labels = dataset.train.labels
    assert labels is not None
    return drawn(dataset.train.images[~torch.isin(labels, torch.tensor(classes))], 0, num)


def planted(dataset: Dataset, evaluator: Evaluator, share: float) -> Tensor:
    """Return validation images, a share of them replaced by copies of training images."""
    num = evaluator.num_samples
    images = drawn(dataset.validation.images, 0, num)
    copies = evaluator.real_images("train", round(share * num))
    return torch.cat([copies, images[len(copies) :]])


def faults(dataset: Dataset, evaluator: Evaluator) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield the name of each fault, and its draws."""
    num, train = evaluator.num_samples, dataset.train.images
    real = drawn(train, 0, num)
    yield "training images", [drawn(train, seed, num) for seed in range(DRAWS)]
    for size in (30, 100, 200, 500, 1000):
        if size < len(train):
            yield f"replay of {size}", [replay(dataset, size, seed, num) for seed in range(DRAWS)]
    yield "25 % most typical", [typical(dataset, num)]
    yield "checkerboard ±8", [checkered(real, 8)]
    for sd in (16, 64):
        yield f"noise, sd {sd}", [noisy(real, sd)]
    for width in (1.0, 2.0):
        yield f"blur, sd {width:g} px", [gaussian_blur(real, [13, 13], [width, width])]
    for share in (0.1, 0.5):
        yield f"{share:.0%} copies", [planted(dataset, evaluator, share)]
    for label in range(10):
        yield f"without {label}", [without(dataset, label, num=num)]
    yield "without 5 to 9", [without(dataset, 5, 6, 7, 8, 9, num=num)]


def make_generators(dataset: Dataset, folder: Path) -> None:
    """Train default generators and keep NUM samples of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (settings, images, parts, kept) in TO_TRAIN.items():
        given = {"dataset": dataset.name, **settings, "budget": {"images": images}}
        config = parse_config(given, name)
        system = SYSTEMS["gan"](config, dataset.facts, torch.device("cpu"))
        places = [part * images // parts for part in sorted(kept)]
        for event in train(system, dataset.train, milestones=1):
            # Measurements come after every hundredth or so.
            if isinstance(event, Measured) and event.progress.images_seen >= places[0]:
                generator = system.networks["generator"].eval()
                inputs = draw_inputs(config, system.facts, NUM, 1000 + config.seed)
                samples = generate(generator, inputs).numpy()
                generator.train()
                file = folder / f"{name}_{event.progress.images_seen}.npz"
                np.savez_compressed(file, images=samples)
                if not (places := places[1:]):
                    break


def other_spaces(dataset: Dataset) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return feature spaces that no ruler was trained in."""
    pixels = dataset.train.images[:20_000].flatten(1).float()
    mean = pixels.mean(dim=0)
    directions = torch.linalg.eigh(torch.cov(pixels.T))[1][:, -50:]
    with seeded(1):
        network = nn.Sequential(
            nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        )  # fmt: skip

    @torch.no_grad()
    def untrained(images: Tensor) -> Tensor:
        return torch.cat([network(to_unit_range(chunk)) for chunk in images.split(500)])

    return {"pixels": lambda images: (images.flatten(1).float() - mean) @ directions,
            "untrained": untrained}  # fmt: skip


def main() -> None:
    """Score everything, print the tables and write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", choices=["mnist", "digits"], default="mnist")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--generators", type=Path, default=Path("generators"))
    parser.add_argument("--train", action="store_true", help="make the generators, an hour or two")
    parser.add_argument("--rulers", nargs="+", help="[default: v1 and v2]")
    parser.add_argument("--cache-dir", type=Path, default=Path("mlruns/cache"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/rulers.json"))
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.dataset, arguments.data_dir)
    names = arguments.rulers or [f"{dataset.name}_cnn_{recipe}" for recipe in ("v1", "v2")]
    if arguments.train:
        make_generators(dataset, arguments.generators)
    cpu = torch.device("cpu")
    evaluators = {
        ruler: Evaluator(
            dataset,
            EvaluateConfig(extractor=ruler),
            cache_dir=arguments.cache_dir,
            device=cpu,
            metrics=MEASURED if is_judge(ruler) else (),
        )
        for ruler in names
    }
    file = arguments.output
    known = json.loads(file.read_text()) if file.exists() else {}
    found: dict[str, Rows] = known.get("rulers", {})
    spaces: dict[str, Rows] = known.get("spaces", {})
    files = sorted(arguments.generators.glob("*.npz"))
    generators = {file.stem: torch.from_numpy(np.load(file)["images"]) for file in files}
    for ruler, evaluator in evaluators.items():
        rows = found.setdefault(ruler, {})
        made = ((name, [images]) for name, images in generators.items())
        for name, draws in chain(faults(dataset, evaluator), made):
            if name not in rows:
                rows[name] = score(evaluator, name, draws)
                write(file, {"rulers": found, "spaces": spaces})
    for space, see in other_spaces(dataset).items() if generators else ():
        real = see(drawn(dataset.test.images, 0, NUM)[:5000])
        for name, images in generators.items():
            fake = see(images[:5000])
            compared = Compared(real=real, fake=fake, train=real, config=EvaluateConfig())
            spaces.setdefault(space, {})[name] = dict(neighbourhoods(compared))
    write(file, {"rulers": found, "spaces": spaces})
    print_tables(found, spaces, list(generators))


def score(evaluator: Evaluator, name: str, draws: list[Tensor]) -> dict[str, float]:
    """Return every figure of a set of images, the mean over its draws."""
    started = time.perf_counter()
    scores = [evaluator.score(images, "test") for images in draws]
    seconds = (time.perf_counter() - started) / len(draws)
    print(f"{evaluator.protocol} {name}: {seconds:.1f} s", flush=True)
    return {
        key.partition("/")[2].removesuffix(f"_{evaluator.protocol}"): float(
            np.mean([each[key] for each in scores])
        )
        for key in scores[0]
    }


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")


def print_tables(
    found: dict[str, Rows],
    spaces: dict[str, Rows],
    generators: list[str],
) -> None:
    """Print the Markdown tables of docs/rulers.md."""
    for ruler, rows in found.items():
        keys = list(next(iter(rows.values())))
        print(f"\n{ruler}\n\n| images | " + " | ".join(keys) + " |")
        print("|---|" + "---|" * len(keys))
        for name, values in rows.items():
            print(f"| {name} | " + " | ".join(f"{values[key]:.3g}" for key in keys) + " |")
        floor = rows["training images"]["fid"]
        drops = [rows[f"without {label}"]["fid"] / floor for label in range(10)]
        print(f"\n{ruler}: floor {floor:.3g}; a dropped class costs {np.mean(drops):.2f} floors")
        for space, by_generator in spaces.items():
            for figure in ("coverage", "precision"):
                fids = [-rows[name]["fid"] for name in generators]
                tau = kendalltau(fids, [by_generator[name][figure] for name in generators])
                print(f"tau of FID with {figure} in {space}: {tau.statistic:.2f}")


if __name__ == "__main__":
    main()

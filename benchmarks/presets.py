"""How good settings are, by a judge that is not the ruler: what `docs/presets.md` reports.

Trains every named system for some seeds and judges 10,000 samples (digits: 400) of each by a
classifier that chose nothing: on MNIST a small network of another shape than the ruler's, on
`digits` a support-vector classifier fitted on the 997 training images.

    python benchmarks/presets.py mlp_bn mlp:d_dropout=0.3,average=10000 --images 600000 --seeds 3
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from harness.data import load_dataset, to_unit_range
from harness.data.pictures import image_grid, png
from harness.evaluate import EvaluateConfig
from harness.evaluate.metric import METRICS, Compared
from harness.randomness import seeded
from harness.records.workspace import Workspace
from harness.run.bench import Bench
from harness.run.execution import Execution
from harness.run.loop import Milestone, train
from harness.study.file import parse_assignment
from harness.study.presets import load_preset, preset_names
from harness.systems import draw_inputs, generate, parse_config

SURE = 0.9
JUDGE_EPOCHS = 4
GRID = 64


@dataclass(frozen=True)
class Job:
    name: str
    dataset: str
    seed: int
    images: int | None
    precision: str
    threads: int
    out: str


@functools.cache
def bench_of(dataset: str, precision: str, threads: int) -> Bench:
    workspace = Workspace.locate()
    execution = Execution(device="cpu", threads=threads, precision=precision)  # type: ignore[arg-type]
    return Bench.set_up(
        load_dataset(dataset, workspace.data_dir),
        EvaluateConfig(),
        execution=execution,
        cache_dir=workspace.cache,
    )


class LeNet(nn.Module):
    """Two 5x5 convolutions and two linear layers: nothing like the ruler."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(800, 100), nn.ReLU(),
        )  # fmt: skip
        self.classify = nn.Linear(100, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.embed(images)
        return features, self.classify(features)


class Judge:
    """A classifier of one dataset, fitted on its training part alone."""

    def __init__(self, bench: Bench) -> None:
        self._part = bench.part
        self._svc: SVC | None = None
        if bench.dataset.name == "mnist":
            self._net = self._fitted_network()
        else:
            self._svc = SVC(probability=True, random_state=0).fit(*self._flat())

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, d) and class probabilities (N, K) of uint8 images."""
        if self._svc is not None:
            pixels = images.flatten(1).float() / 255
            return pixels, torch.from_numpy(self._svc.predict_proba(pixels.numpy()))
        with torch.no_grad():
            found = [self._net(to_unit_range(some)) for some in images.split(1000)]
        features, logits = (torch.cat(parts) for parts in zip(*found, strict=True))
        return features, softmax(logits, dim=1)

    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        assert self._part.labels is not None
        return self._part.images.flatten(1).numpy() / 255, self._part.labels.numpy()

    def _fitted_network(self) -> LeNet:
        assert self._part.labels is not None
        kept = Workspace.locate().cache / "benchmark_judge.pt"
        with seeded(0):
            net = LeNet()
        if kept.exists():
            net.load_state_dict(torch.load(kept, weights_only=True))
            return net.eval()
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        order = torch.Generator().manual_seed(0)
        for _ in range(JUDGE_EPOCHS):
            for picked in torch.randperm(len(self._part), generator=order).split(100):
                batch = self._part.take(picked)
                _, logits = net(to_unit_range(batch.images))
                optimizer.zero_grad()
                cross_entropy(logits, batch.labels).backward()
                optimizer.step()
        torch.save(net.state_dict(), kept)
        return net.eval()


@functools.cache
def judge_of(dataset: str) -> Judge:
    return Judge(bench_of(dataset, "float32", 1))


def judged(dataset: str, images: Tensor, classes: Tensor | None) -> dict[str, float]:
    """Return what the judge makes of images (N, C, H, W) uint8."""
    bench = bench_of(dataset, "float32", 1)
    judge = judge_of(dataset)
    features, probabilities = judge(images)
    real, _ = judge(bench.evaluator.real_images("test", len(images)))
    compared = Compared(real=real, fake=features, train=real, config=EvaluateConfig())
    figures = METRICS["neighbourhoods"].compute(compared)
    best, found = probabilities.max(dim=1)
    shares = torch.bincount(found, minlength=10) / len(found)
    result = {
        "precision": figures["precision"],
        "coverage": figures["coverage"],
        "frechet": METRICS["frechet_distance"].compute(compared)["fid"],
        "ambiguous": float((best < SURE).double().mean()),
        "rarest_class": float(shares.min()),
    }
    if classes is not None:
        result["class_accuracy"] = float((found == classes).double().mean())
    return result


def settings_of(name: str) -> dict[str, Any]:
    """Return the settings of `preset:key=value,…`, or of an architecture's defaults."""
    base, _, changes = name.partition(":")
    settings: dict[str, Any] = (
        load_preset(base).for_one_run() if base in preset_names() else {"architecture": base}
    )
    return settings | dict(map(parse_assignment, filter(None, changes.split(","))))


def run(job: Job) -> dict[str, Any]:
    """Train one run and judge it before, and after."""
    torch.set_num_threads(job.threads)
    bench = bench_of(job.dataset, job.precision, job.threads)
    settings = settings_of(job.name) | {"dataset": job.dataset, "seed": job.seed}
    if job.images is not None:
        settings["budget"] = {"images": job.images}
    config = parse_config(settings, job.name)
    system = bench.start(config)
    generator = system.networks[type(system).sampled(config)]
    inputs = draw_inputs(config, system.facts, bench.evaluator.num_samples, config.seed)
    result: dict[str, Any] = {**vars(job), "fid": {}}
    for event in train(system, bench.part, milestones=1):
        if isinstance(event, Milestone):
            images = generate(generator.eval(), inputs)
            generator.train()
            scores = bench.evaluator.score(images, "validation", final=event.is_last)
            result["fid"][event.progress.images_seen] = scores[bench.objective]
            result["seconds"] = round(event.progress.train_seconds, 1)
    classes = inputs[1] if len(inputs) > 1 else None
    result |= {"scores": scores, "judged": judged(job.dataset, images, classes)}
    name = job.name.replace(":", "_").replace(",", "_").replace("=", "")
    png(image_grid(images[:GRID])).save(f"{job.out}/{name}_{job.seed}.png")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="+", help="preset or architecture, with :key=value,…")
    parser.add_argument("--dataset", default="mnist", choices=["mnist", "digits"])
    parser.add_argument("--images", type=int, help="[default: the settings' own]")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", default="results", help="Folder of results.jsonl and pictures.")
    args = parser.parse_args(arguments)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    judge_of(args.dataset)  # fitted once, before any process needs it
    test = bench_of(args.dataset, "float32", 1).evaluator.real_images("validation", 10_000)
    print(json.dumps({"real": judged(args.dataset, test, None)}), flush=True)
    jobs = [
        Job(name, args.dataset, seed, args.images, args.precision, 1, args.out)
        for seed in range(1, args.seeds + 1)
        for name in args.names
    ]
    started = time.perf_counter()
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        for result in pool.map(run, jobs):
            with (Path(args.out) / "results.jsonl").open("a") as file:
                file.write(json.dumps(result) + "\n")
            short = {key: round(value, 4) for key, value in result["judged"].items()}
            print(result["name"], result["seed"], f"{result['seconds']} s", result["fid"], short,
                  flush=True)  # fmt: skip
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

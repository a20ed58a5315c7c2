"""How long a study will take, from a few timed steps of every arm."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from harness.data import Batches
from harness.run.bench import Bench
from harness.run.loop import Progress
from harness.study.arm import Arm
from harness.study.study import StudyConfig
from harness.systems import draw_inputs, generate

WARM_UP_STEPS = 3
TIMED_STEPS = 5
TIMED_SAMPLES = 500


def estimate_seconds(study: StudyConfig, arm: Arm, bench: Bench) -> float:
    """Return seconds that all runs of an arm take one after another, at its default settings.

    Pruned and diverged runs take less; a tuned k or size can make it more or less.
    """
    config = arm.config(arm.defaults, seed=0)
    system = bench.start(config)
    generator = system.networks[system.sampled(config)]
    order = torch.Generator(bench.device).manual_seed(0)
    batches = Batches(bench.part, config.batch_size, order)

    def step() -> None:
        next(iter(system.step(batches.take, 0.0).values())).item()

    sources = bench.evaluator.sources("test")
    inputs = draw_inputs(config, system.facts, TIMED_SAMPLES, 0, sources=sources)

    def draw() -> None:
        generator.eval()
        generate(generator, inputs)

    def score() -> None:
        bench.evaluator.score(bench.dataset.test.images[: bench.evaluator.num_samples], "test")

    for _ in range(WARM_UP_STEPS):
        step()
    if config.budget.seconds is not None:
        training = config.budget.seconds
    else:
        done = Progress(images_seen=batches.images_seen, counts=system.counts)
        share = done.share(config.budget) / WARM_UP_STEPS
        training = _seconds(step, TIMED_STEPS) / share
    # Where images are translated back, both ways are scored, each after going there and back.
    ways = 1 if system.returning(config) is None else 2
    draws = ways**2 * bench.evaluator.num_samples / len(inputs[0])
    evaluation = bench.times * (draws * _seconds(draw, 1) + ways * _seconds(score, 1))
    num_search = len(study.points(arm)) * study.search.seeds if arm.space else 0
    shares = num_search * study.search.budget_share + study.confirm.seeds
    return shares * training + (num_search + study.confirm.seeds) * evaluation


def _seconds(work: Callable[[], None], times: int) -> float:
    """Return the median over `times` calls, which one hiccup of the machine does not move."""
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        durations.append(time.perf_counter() - started)
    return median(durations)

"""How long a study will take, from a few timed steps of every arm."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from harness.checkpoint import draw_latents, generate
from harness.data import Batches
from harness.runner import Bench
from harness.statistics import median
from harness.study import Arm, StudyConfig
from harness.systems import GAN
from harness.train import num_iterations

WARM_UP_STEPS = 3
TIMED_STEPS = 5
TIMED_SAMPLES = 500


def estimate_seconds(study: StudyConfig, arm: Arm, bench: Bench) -> float:
    """Return seconds that all runs of an arm take one after another, at its default settings.

    Pruned and diverged runs take less; a tuned k or size can make it more or less.
    """
    config = arm.config(arm.defaults, seed=0)
    system = GAN(config, bench.dataset.sample_shape, bench.device)
    state = system.init()
    order = torch.Generator(bench.device).manual_seed(0)
    batches = Batches(bench.images, config.batch_size, order)

    def step() -> None:
        system.step(state, batches.take(config.d_steps))["g_loss"].item()

    def draw() -> None:
        state.generator.eval()
        generate(state.generator, draw_latents(TIMED_SAMPLES, config.latent_dim, 0))

    def score() -> None:
        bench.evaluator.score(bench.dataset.test.images[: bench.evaluator.num_samples], "test")

    for _ in range(WARM_UP_STEPS):
        step()
    iterations = num_iterations(config)
    if iterations is None:
        training = config.budget.amount
    else:
        training = iterations * _seconds(step, TIMED_STEPS)
    draws = bench.evaluator.num_samples / TIMED_SAMPLES
    evaluation = bench.times * (draws * _seconds(draw, 1) + _seconds(score, 1))
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

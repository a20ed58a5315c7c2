"""How long a study will take, from a few timed steps of every shape of its runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch

from harness.data import Batches
from harness.errors import HarnessError
from harness.evaluate.timing import scoring_seconds
from harness.run.bench import Bench
from harness.run.loop import Progress
from harness.study.arm import Arm
from harness.study.study import StudyConfig
from harness.systems import TrainConfig, draw_inputs, generate

TIMED_STEPS = 3  # after one that warms up
TIMED_SAMPLES = 200
PATIENCE = 3.0  # seconds for steps of all shapes; what is left out then takes the others' mean
RECORDING = 1.5  # seconds a run, of building networks, checkpoints and MLflow
LONGEST_START = 30.0  # of a process that does nothing else


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """Seconds of one shape of run.

    Attributes:
        training: For the full budget.
        drawing: Of the samples and pictures of one evaluation.
        ways: 2 where samples are translated back and scored in both domains, else 1.
    """

    training: float
    drawing: float
    ways: int


def estimate_seconds(study: StudyConfig, arms: Sequence[Arm], bench: Bench) -> dict[str, float]:
    """Return seconds that all runs of each arm take one after another, by its name.

    Rates and weights change no step's cost, so runs that differ in these alone are timed once.
    Pruned and diverged runs take less; what is confirmed is taken for a mean trial.

    Raises:
        HarnessError: A run fails at its first steps, e.g. for want of memory.
    """
    tried = {
        arm.name: [arm.config(point or arm.defaults, seed=0) for point in study.points(arm)]
        for arm in arms
    }
    # Every arm's first trial, then all the others.
    in_order = [(name, configs[0]) for name, configs in tried.items()]
    in_order += [(name, config) for name, configs in tried.items() for config in configs[1:]]
    costs = _time_shapes(in_order, bench)
    midway, last = scoring_seconds(bench.evaluator)
    judged = scoring_seconds(bench.judge)[1] if bench.judge else 0.0

    def evaluations(cost: _Cost, splits: int) -> float:
        """Return the seconds of a run beside training, its last samples scored on so many parts."""
        scoring = (bench.times - 1) * midway + splits * last + (splits - 1) * judged
        return bench.times * cost.drawing + cost.ways * scoring + RECORDING

    found: dict[str, float] = {}
    for arm in arms:
        own = [costs[shape] for config in tried[arm.name] if (shape := _shape_of(config)) in costs]
        mean = _mean(own or [*costs.values()])
        num_search = len(tried[arm.name]) * study.search.seeds if arm.space else 0
        search = study.search.budget_share * mean.training + evaluations(mean, splits=1)
        confirm = mean.training + evaluations(mean, splits=2)
        found[arm.name] = num_search * search + study.confirm.seeds * confirm
    return found


def start_seconds() -> float:
    """Return what this process has taken so far: imports, which every worker needs too."""
    return min(time.process_time(), LONGEST_START)


def _shape_of(config: TrainConfig) -> str:
    """Return what a step's cost depends on: all settings, rates and weights only as on or off."""
    return repr({key: bool(each) if isinstance(each, float) else each for key, each in config})


def _mean(costs: Sequence[_Cost]) -> _Cost:
    return _Cost(
        training=fmean(cost.training for cost in costs),
        drawing=fmean(cost.drawing for cost in costs),
        ways=costs[0].ways,
    )


def _time_shapes(runs: Iterable[tuple[str, TrainConfig]], bench: Bench) -> dict[str, _Cost]:
    """Time runs of different shapes, with their arms' names, until patience ends; one at least."""
    costs: dict[str, _Cost] = {}
    started = time.perf_counter()
    for name, config in runs:
        shape = _shape_of(config)
        if shape not in costs:
            try:
                costs[shape] = _time_run(config, bench)
            except HarnessError:
                raise
            except Exception as error:  # it would be the result of every such run
                raise HarnessError(f"arm {name!r} fails at its first steps: {error!r}") from None
        if time.perf_counter() - started > PATIENCE:
            break
    return costs


def _time_run(config: TrainConfig, bench: Bench) -> _Cost:
    system = bench.start(config)
    generator = system.networks[system.sampled(config)]
    order = torch.Generator(bench.device).manual_seed(0)
    batches = Batches(bench.part, config.batch_size, order)
    sources = bench.evaluator.sources("test")
    inputs = draw_inputs(config, system.facts, TIMED_SAMPLES, 0, sources=sources)

    def step() -> None:
        next(iter(system.step(batches.take, 0.0).values())).item()

    def draw() -> None:
        generate(generator, inputs)

    def picture() -> None:
        shown = system.facts.kind.num_shown
        samples = generate(generator, tuple(each[:shown] for each in inputs))
        system.facts.kind.picture(samples, system.facts.density)
        system.draw(bench.dataset.validation, final=False)

    step()
    if config.budget.seconds is not None:
        training = config.budget.seconds
    else:
        one = Progress(images_seen=batches.images_seen, counts=system.counts)
        training = (
            _seconds(step, TIMED_STEPS) * config.budget.amount / one.spent(config.budget.unit)
        )
    for network in system.networks.values():
        network.eval()
    picture()  # the first one loads fonts
    # Where images are translated back, both ways are drawn, each after going there and back.
    ways = 1 if system.returning(config) is None else 2
    draws = ways**2 * bench.evaluator.num_samples / len(inputs[0])
    drawing = draws * _seconds(draw, 1) + _seconds(picture, 1)
    return _Cost(training=training, drawing=drawing, ways=ways)


def _seconds(work: Callable[[], None], times: int) -> float:
    """Return the median over `times` calls, which one hiccup of the machine does not move."""
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        durations.append(time.perf_counter() - started)
    return median(durations)

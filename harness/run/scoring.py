"""What a system's samples score, also of one that translates images there and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from harness.data import Split
from harness.evaluate import Evaluator
from harness.run.bench import Bench
from harness.systems import System, draw_inputs, generate


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What was scored.

    Attributes:
        figures: By protocol key.
        samples: (n, C, H, W) uint8; translations of the first split's images.
        asked: The classes (n,) that they were asked for, or None.
    """

    figures: dict[str, float]
    samples: Tensor
    asked: Tensor | None


def score(system: System[Any], bench: Bench, splits: Sequence[Split], *, final: bool) -> Scored:
    """Return what a system's samples score; its networks must be in eval mode.

    Translations are scored against each split's images of their own domain, and so are those of the
    way back against the other domain's. What is scored against test images is judged too.

    Args:
        system: What is scored.
        bench: Data and metric.
        splits: The real images to compare with.
        final: Whether to compute those metrics too that are left for a run's end.
    """
    config = system.config
    there = system.networks[system.sampled(config)]
    # A search run, which sees no test image, is none of its business: it must not choose.
    judge = bench.judge if final and "test" in splits else None
    if bench.back is None:
        inputs = draw_inputs(config, system.facts, bench.evaluator.num_samples, config.seed)
        asked = system.asked_classes(config, inputs)
        samples = generate(there, inputs)
        figures = bench.evaluator.score(samples, *splits, final=final, classes=asked)
        figures |= judge.score(samples, *splits) if judge else {}
        return Scored(figures=figures, samples=samples, asked=asked)
    returning = system.returning(config)
    back = None if returning is None else system.networks[returning]
    ways: list[tuple[nn.Module, nn.Module | None, Evaluator, Evaluator | None]]
    ways = [(there, back, bench.evaluator, judge)]
    if back is not None:
        ways.append((back, there, bench.back, None))
    figures, translations = {}, []
    for network, other, evaluator, judge in ways:
        for split in splits:
            sources = evaluator.sources(split)
            assert sources is not None
            translated = _translated(system, network, sources)
            returned = None if other is None else _translated(system, other, translated)
            figures |= evaluator.score(
                translated, split, final=final, sources=sources, returned=returned
            )
            figures |= judge.score(translated, split) if judge else {}
            translations.append(translated)
    return Scored(figures=figures, samples=translations[0], asked=None)


def _translated(system: System[Any], network: nn.Module, images: Tensor) -> Tensor:
    """Return the translations of all images (N, C, H, W) uint8, rounded to uint8 too."""
    config = system.config
    return generate(
        network, draw_inputs(config, system.facts, len(images), config.seed, sources=images)
    )

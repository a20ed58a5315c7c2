"""Which precision runs are trained in: bfloat16 where it is known to be right, and faster."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from harness.data import Batches
from harness.run.bench import Bench
from harness.systems import SYSTEMS, Precision, System, TrainConfig

Asked: TypeAlias = Literal["auto", "float32", "bfloat16"]

LARGEST_ERROR = 0.02
"""Of a layer's output or gradient, relative, in the Euclidean norm: ten times rounding's."""
SMALLEST_SPEEDUP = 1.1
"""Of an arm's step, below which bfloat16 is not worth it."""
TIMED_SECONDS = 1.0  # per arm
TIMED_ROUNDS = 2, 30  # at least, at most
BF16_UNITS = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A precision, and in one line why it was taken."""

    precision: Precision
    reason: str

    def __str__(self) -> str:
        return f"{self.precision}: {self.reason}"


def choose_precision(asked: Asked, configs: Mapping[str, TrainConfig], bench: Bench) -> Choice:
    """Return what runs are to be trained in.

    `auto` takes bfloat16 if this processor has units for it and every arm passes here: each
    layer's outputs and gradients as float32 gives them, and a faster step.

    Args:
        asked: What the study file says.
        configs: A run of each arm, by the arm's name.
        bench: Data and device.
    """
    if asked != "auto":
        return Choice(precision=asked, reason="as asked for")
    if bench.device.type != "cpu":
        return Choice(precision="float32", reason=f"bfloat16 is not judged on {bench.device.type}")
    if not has_bfloat16_units():
        units = " or ".join(BF16_UNITS)
        return Choice(precision="float32", reason=f"this processor has no {units}")
    speedups = []
    for arm, config in configs.items():
        try:
            complaint = _wrong_layer(config, bench)
            speedup = 0.0 if complaint else _speedup(config, bench)
        except Exception as error:  # whatever it is, its runs have it for their result
            complaint, speedup = f"a step fails with {type(error).__name__}", 0.0
        if complaint is None and speedup < SMALLEST_SPEEDUP:
            complaint = f"a step in bfloat16 is {speedup:.2f} times as fast"
        if complaint:
            return Choice(precision="float32", reason=f"{arm}: {complaint}")
        speedups.append(speedup)
    slowest, fastest = min(speedups), max(speedups)
    reason = f"every layer is right to {LARGEST_ERROR:.0%}, steps are {slowest:.1f}"
    reason += f" to {fastest:.1f}" if len(speedups) > 1 else ""
    return Choice(precision="bfloat16", reason=f"{reason} times as fast as in float32")


def has_bfloat16_units() -> bool:
    """Return whether this processor multiplies bfloat16 numbers itself; others do it far slower."""
    look = getattr(torch.cpu, "get_capabilities", dict)  # early versions cannot tell
    capabilities: dict[str, Any] = look()
    return any(capabilities.get(unit, False) for unit in BF16_UNITS)


def _wrong_layer(config: TrainConfig, bench: Bench) -> str | None:
    """Return which layer computes something else in bfloat16 than in float32, if one does."""
    system, take = _start(config, bench, "bfloat16")
    for place, error in layer_errors(system, take):
        if not error <= LARGEST_ERROR:
            return f"{place} is wrong by {error:.1%} in bfloat16"
    return None


def _start(
    config: TrainConfig, bench: Bench, precision: Precision
) -> tuple[System[Any], Callable[[], Any]]:
    system = SYSTEMS[config.system](config, bench.dataset.facts, bench.device, precision)
    order = torch.Generator(bench.device).manual_seed(0)
    return system, Batches(bench.part, config.batch_size, order).take


def _speedup(config: TrainConfig, bench: Bench) -> float:
    """Return how many times as fast a step is in bfloat16 as in float32, by the fastest of each."""
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    started = {each: _start(config, bench, each) for each in precisions}
    seconds: dict[str, list[float]] = {each: [] for each in precisions}
    begun = time.perf_counter()
    fewest, most = TIMED_ROUNDS
    for number in range(1 + most):  # the first is a warm-up
        if number > fewest and time.perf_counter() - begun > TIMED_SECONDS:
            break
        for precision, (system, take) in started.items():
            before = time.perf_counter()
            system.step(take, 0.0)
            seconds[precision].append(time.perf_counter() - before)
    fastest = {precision: min(times[1:]) for precision, times in seconds.items()}
    return fastest["float32"] / fastest["bfloat16"]


# Layers, one by one -------------------------------------------------------------------------------


def layer_errors(system: System[Any], take: Callable[[], Any]) -> Iterator[tuple[str, float]]:
    """Run one step in bfloat16, and every layer's passes again in float32 on what they were given.

    Yields:
        Which result of which layer, and its relative error: |bfloat16 - float32| / |float32|.
    """
    passes: list[_Pass] = []
    hooks = [
        layer.register_forward_hook(functools.partial(_watch, passes, f"{network}.{name}"))
        for network, module in system.networks.items()
        for name, layer in module.named_modules()
        if parametrize.is_parametrized(layer)
        or (next(layer.children(), None) is None and next(layer.parameters(), None) is not None)
    ]
    system.step(take, 0.0)
    for hook in hooks:
        hook.remove()
    for each in passes:
        yield from each.errors()


@dataclass(kw_only=True)
class _Pass:
    """One pass of a layer: what it took and gave, and the gradients that came back, by name."""

    place: str
    layer: nn.Module
    input: Tensor
    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    output: Tensor
    gradients: dict[str, Tensor] = field(default_factory=dict)

    def errors(self) -> Iterator[tuple[str, float]]:
        if parametrize.is_parametrized(self.layer):
            self.layer.eval()  # in training every look at the weight changes it (spectral norm)
        given = {"input": self.input, **self.weights}
        given = {name: each.float().requires_grad_() for name, each in given.items()}
        state = {name: given[name] for name in self.weights} | dict(self.buffers)
        output = functional_call(self.layer, state, (given["input"],))
        yield f"{self.place}'s output", _error(self.output, output.detach())
        wanted = [name for name in given if name in self.gradients]
        if not wanted:
            return
        gradients = torch.autograd.grad(
            output, [given[name] for name in wanted], self.gradients["output"].float()
        )
        for name, gradient in zip(wanted, gradients, strict=True):
            yield f"{self.place}'s gradient of its {name}", _error(self.gradients[name], gradient)


def _watch(
    passes: list[_Pass], place: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any
) -> None:
    """Note a pass in bfloat16 whose gradients are asked for; a forward hook."""
    if len(inputs) != 1 or not isinstance(output, Tensor) or output.dtype != torch.bfloat16:
        return
    if not output.requires_grad:
        return
    weights = dict(layer.named_parameters())
    noted = _Pass(
        place=place,
        layer=layer,
        input=inputs[0].detach().clone(),
        weights={name: each.detach().clone() for name, each in weights.items()},
        buffers={name: each.clone() for name, each in layer.named_buffers()},
        output=output.detach().clone(),
    )
    passes.append(noted)
    for name, each in {"input": inputs[0], "output": output, **weights}.items():
        # Weights in float32 are those of norms, whose gradients are sums over all passes.
        if each.requires_grad and each.dtype == torch.bfloat16:
            each.register_hook(functools.partial(noted.gradients.__setitem__, name))


def _error(found: Tensor, right: Tensor) -> float:
    difference, size = (found.float() - right).norm(), right.norm()
    return float(difference / size) if size > 0 else float(difference)

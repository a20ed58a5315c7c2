"""Which precision runs are trained in: bfloat16 where it is known to be right, and faster."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from harness.data import Batches
from harness.run.bench import Bench
from harness.systems import Precision, System, TrainConfig

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


def choose_precision(
    asked: Asked, configs: Mapping[str, Sequence[TrainConfig]], bench: Bench
) -> Choice:
    """Return what runs are to be trained in.

    `auto` takes bfloat16 if this processor has units for it and every arm passes here: each
    layer's outputs and gradients as float32 gives them, and a faster step.

    Args:
        asked: What the study file says.
        configs: By the arm's name a typical run, whose step is timed too, and runs of all other
            shapes that layers may take.
        bench: Data and device.
    """
    if asked != "auto":
        return Choice(precision=asked, reason=f"precision = {asked!r}{warning(asked, bench)}")
    if bench.device.type != "cpu":
        return Choice(precision="float32", reason=f"bfloat16 is not judged on {bench.device.type}")
    if not has_bfloat16_units():
        units = " or ".join(BF16_UNITS)
        return Choice(precision="float32", reason=f"this processor has no {units}")
    speedups = []
    for arm, runs in configs.items():
        try:
            complaint = next(filter(None, (_wrong_layer(run, bench) for run in runs)), None)
            speedup = 0.0 if complaint else _speedup(runs[0], bench)
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


def warning(precision: Precision, bench: Bench) -> str:
    """Return what to say beside a precision that this machine is not made for, or nothing."""
    if precision == "bfloat16" and bench.device.type == "cpu" and not has_bfloat16_units():
        return f"; this processor has no {' or '.join(BF16_UNITS)}, so it may be very slow"
    return ""


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
    system = replace(bench, precision=precision).start(config)
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
    watched = [
        _Watched(f"{network}.{name}", layer)
        for network, module in system.networks.items()
        for name, layer in module.named_modules()
        if parametrize.is_parametrized(layer)
        or (next(layer.children(), None) is None and next(layer.parameters(), None) is not None)
    ]
    watched = [each for each in watched if "parametrizations" not in each.place]
    system.step(take, 0.0)
    for each in watched:
        yield from each.errors()


@dataclass(kw_only=True)
class _Pass:
    """What a layer took and gave in one pass, and the gradients that came back, by name."""

    input: Tensor
    output: Tensor
    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    gradients: dict[str, Tensor] = field(default_factory=dict)


class _Watched:
    """A layer, and its passes in bfloat16 whose gradients are asked for."""

    def __init__(self, place: str, layer: nn.Module) -> None:
        self.place = place
        self.layer = layer
        self.passes: list[_Pass] = []
        self._made: dict[str, Tensor] = {}  # weights that a parametrisation has just computed
        self._hooks = [
            layer.register_forward_pre_hook(_own_input),
            layer.register_forward_hook(self._note),
        ]
        for name in _parametrized(layer):
            made: Any = layer.parametrizations[name]  # type: ignore[index]
            self._hooks.append(made.register_forward_hook(functools.partial(self._keep, name)))

    def _keep(self, name: str, _module: nn.Module, _inputs: Any, weight: Tensor) -> None:
        self._made[name] = weight

    def _note(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if len(inputs) != 1 or not isinstance(output, Tensor) or output.dtype != torch.bfloat16:
            return
        if not output.requires_grad:
            return
        weights = dict(layer.named_parameters(recurse=False)) | self._made
        noted = _Pass(
            input=inputs[0].detach().clone(),
            output=output.detach().clone(),
            weights={name: each.detach().clone() for name, each in weights.items()},
            buffers={name: each.clone() for name, each in layer.named_buffers(recurse=False)},
        )
        self.passes.append(noted)
        for name, each in {"input": inputs[0], "output": output, **weights}.items():
            # Leaves are the weights of norms, float32 anyway: their gradients sum up all passes.
            if each.requires_grad and not each.is_leaf:
                each.register_hook(functools.partial(noted.gradients.__setitem__, name))

    def errors(self) -> Iterator[tuple[str, float]]:
        for hook in self._hooks:
            hook.remove()
        layer = self.layer
        if names := _parametrized(layer):  # the same layer with plain weights
            layer = copy.deepcopy(layer)
            for name in names:
                parametrize.remove_parametrizations(layer, name)
        for noted in self.passes:
            given = {"input": noted.input, **noted.weights}
            given = {name: each.float().requires_grad_() for name, each in given.items()}
            state = {name: given[name] for name in noted.weights} | dict(noted.buffers)
            output = functional_call(layer, state, (given["input"],))
            yield f"{self.place}'s output", _error(noted.output, output.detach())
            wanted = [name for name in given if name in noted.gradients]
            if not wanted:
                continue
            direction = noted.gradients["output"].float()
            gradients = torch.autograd.grad(output, [given[name] for name in wanted], direction)
            for name, gradient in zip(wanted, gradients, strict=True):
                place = f"{self.place}'s gradient of its {name}"
                yield place, _error(noted.gradients[name], gradient)


def _own_input(_layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return inputs whose gradients are this layer's alone, where other layers take them too."""
    return tuple(each.view_as(each) if isinstance(each, Tensor) else each for each in inputs)


def _parametrized(layer: nn.Module) -> list[str]:
    return list(layer.parametrizations) if parametrize.is_parametrized(layer) else []  # type: ignore[arg-type]


def _error(found: Tensor, right: Tensor) -> float:
    difference, size = (found.float() - right).norm(), right.norm()
    return float(difference / size) if size > 0 else float(difference)

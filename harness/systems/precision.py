"""Networks that compute in bfloat16 and learn in float32 (Micikevicius et al. 2018)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.optim.optimizer import register_optimizer_step_post_hook

Precision: TypeAlias = Literal["float32", "bfloat16"]
"""Of matrix products and convolutions in training; all else is float32 either way."""

MULTIPLYING = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
"""Layers that multiply with bfloat16 copies of their weights."""
SATURATING = (nn.Tanh, nn.Sigmoid)
"""Layers that compute in float32: a pixel of -0.999 is -1 in bfloat16, and its gradient 0."""


class InBFloat16:
    """A network's passes in bfloat16; its weights and their gradients stay float32.

    Products take and give bfloat16 and add up in float32 inside. Weights are rounded once after
    every change instead of at every use. Copies of kernels are `channels_last`, the faster layout,
    which activations then follow. Statistics and parameters of norms stay float32. Not
    differentiable twice: penalties call the network itself.

    Args:
        network: Keeps the weights that optimisers change.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        # Where each weight lies: its layer's own table and its name there. A change of the tables
        # is what `functional_call` makes too, in four times the time.
        self._places: list[tuple[dict[str, Any], str]] = []
        self._weights: list[Tensor] = []
        for layer in network.modules():
            if isinstance(layer, MULTIPLYING):
                for name, weight in layer.named_parameters(recurse=False):
                    self._places.append((layer._parameters, name))
                    self._weights.append(weight)
        self._copies = [_empty_copy(weight) for weight in self._weights]
        self._copied: list[int] = []  # the weights' versions then
        for layer in network.modules():
            if isinstance(layer, SATURATING):
                layer.register_forward_pre_hook(_in_float32)
        _count_fused_updates()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the network's output in float32, differentiable by inputs and weights."""
        copies = _Cast.apply(self._up_to_date(), *self._weights)
        # Autocast is for what is no copy; its own cache would hand out weights from before the
        # last update.
        with (
            self._in_place(copies),
            torch.autocast(inputs[0].device.type, torch.bfloat16, cache_enabled=False),
        ):
            outputs: Tensor = self.network(
                *(each.bfloat16() if each.is_floating_point() else each for each in inputs)
            )
        return outputs.float()

    def _up_to_date(self) -> list[Tensor]:
        versions = [weight._version for weight in self._weights]
        if versions != self._copied:
            with torch.no_grad():
                torch._foreach_copy_(self._copies, self._weights)
            self._copied = versions
        return self._copies

    @contextmanager
    def _in_place(self, copies: Sequence[Tensor]) -> Iterator[None]:
        for (table, name), copy in zip(self._places, copies, strict=True):
            table[name] = copy
        try:
            yield
        finally:
            for (table, name), weight in zip(self._places, self._weights, strict=True):
                table[name] = weight


class _Cast(torch.autograd.Function):
    """Hands out copies that were made before as if each were its weight, cast just now."""

    @staticmethod
    def forward(ctx: Any, copies: Sequence[Tensor], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(copy.detach() for copy in copies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        contiguous = torch.contiguous_format
        cast = (
            None if each is None else each.to(torch.float32, memory_format=contiguous)
            for each in gradients
        )
        return (None, *cast)


def _in_float32(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.float() if each.dtype == torch.bfloat16 else each for each in inputs)


def _empty_copy(weight: Tensor) -> Tensor:
    layout = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
    return torch.empty_like(weight, dtype=torch.bfloat16, memory_format=layout, requires_grad=False)


@functools.cache
def _count_fused_updates() -> None:
    """Let every optimiser's step raise its weights' versions: torch's fused ones do not."""

    def raise_versions(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        increment_version([each for group in optimizer.param_groups for each in group["params"]])

    register_optimizer_step_post_hook(raise_versions)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Run a block in which no gradients of this network's weights are asked for."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)

"""Optimisers, their schedules, and the one way to take a step with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, TypeAlias

import torch
from pydantic import AfterValidator
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from harness.config import Config, Fraction, NonNegative, Positive
from harness.registry import Registry, first_line

Weights: TypeAlias = Iterable[nn.Parameter]
MakeOptimizer: TypeAlias = Callable[[Weights, float, "OptimizerSettings"], Optimizer]

OPTIMIZERS: Registry[MakeOptimizer] = Registry("optimizer")
SCHEDULES: Registry[Callable[[float], float]] = Registry("schedule")


class OptimizerSettings(Config):
    """How weights follow their gradients."""

    optimizer: Annotated[str, AfterValidator(OPTIMIZERS.check)] = "adam"
    """Optimiser."""
    adam_beta1: Fraction = 0.5
    """Decay of Adam's first moment."""
    adam_beta2: Fraction = 0.999
    """Decay of Adam's second moment."""
    momentum: Fraction = 0.0
    """Momentum of sgd and rmsprop."""
    weight_decay: NonNegative = 0.0
    """L2 (adam, rmsprop, sgd) or decoupled (adamw) weight decay."""
    schedule: Annotated[str, AfterValidator(SCHEDULES.check)] = "constant"
    """How the learning rate falls over the budget, after the warm-up."""
    warm_up: Fraction = 0.0
    """Share of the budget over which the learning rate rises from 0, in proportion."""
    clip_grad: Positive | None = None
    """Gradients longer than this are cut to it (L2 norm over all of a network's weights)."""


def optimizer(make: MakeOptimizer) -> MakeOptimizer:
    """Register an optimiser under the function's name."""
    OPTIMIZERS.add(make.__name__, make, first_line(make))
    return make


# Fused updates, where torch has them, are a good part of an MLP step.
@optimizer
def adam(weights: Weights, lr: float, settings: OptimizerSettings) -> Optimizer:
    """Adam (Kingma and Ba 2015)."""
    betas = (settings.adam_beta1, settings.adam_beta2)
    return Adam(weights, lr, betas, weight_decay=settings.weight_decay, fused=True)


@optimizer
def adamw(weights: Weights, lr: float, settings: OptimizerSettings) -> Optimizer:
    """Adam with decoupled weight_decay, Adam where that is 0 (Loshchilov and Hutter 2019)."""
    betas = (settings.adam_beta1, settings.adam_beta2)
    return AdamW(weights, lr, betas, weight_decay=settings.weight_decay, fused=True)


@optimizer
def rmsprop(weights: Weights, lr: float, settings: OptimizerSettings) -> Optimizer:
    """RMSprop (Tieleman and Hinton 2012)."""
    decay, momentum = settings.weight_decay, settings.momentum
    return RMSprop(weights, lr, weight_decay=decay, momentum=momentum)


@optimizer
def sgd(weights: Weights, lr: float, settings: OptimizerSettings) -> Optimizer:
    """Stochastic gradient descent, with momentum where that is set."""
    decay, momentum = settings.weight_decay, settings.momentum
    return SGD(weights, lr, weight_decay=decay, momentum=momentum, fused=True)


SCHEDULES.add("constant", lambda done: 1.0, "The same throughout")
SCHEDULES.add("linear", lambda done: 1 - done, "Falls in a straight line to 0")
SCHEDULES.add(
    "linear_late",
    lambda done: min(1.0, 2 * (1 - done)),
    "The same for half of the budget, then in a straight line to 0 (Zhu et al. 2017)",
)
SCHEDULES.add(
    "cosine",
    lambda done: (1 + math.cos(math.pi * done)) / 2,
    "Falls along half a cosine to 0 (Loshchilov and Hutter 2017)",
)


class Learner:
    """One optimiser with the schedule of its learning rate and the clipping of its gradients.

    Args:
        weights: What it changes.
        lr: The learning rate that the schedule scales.
        settings: All else.
    """

    def __init__(self, weights: Weights, lr: float, settings: OptimizerSettings) -> None:
        self.optimizer = OPTIMIZERS[settings.optimizer](weights, lr, settings)
        self._lr = lr
        self._schedule = SCHEDULES[settings.schedule]
        self._warm_up = settings.warm_up
        self._max_norm = settings.clip_grad
        self._varies = settings.schedule != "constant" or settings.warm_up > 0

    def set_rate(self, done: float) -> None:
        """Set the learning rate for a spent share of the budget in [0, 1)."""
        if self._varies:
            for group in self.optimizer.param_groups:
                group["lr"] = self._lr * self.factor(done)

    def factor(self, done: float) -> float:
        """Return what the learning rate is multiplied by."""
        if done < self._warm_up:
            return done / self._warm_up
        return self._schedule((done - self._warm_up) / (1 - self._warm_up))

    def update(self, loss: Tensor) -> Tensor:
        """Step on the gradients of a loss and return their L2 norm before clipping, on the device.

        Naming the weights spares those of other networks: their gradients are never computed.
        """
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        for weight in weights:
            weight.grad = None
        torch.autograd.backward(loss, inputs=weights)
        norm = nn.utils.get_total_norm([each.grad for each in weights if each.grad is not None])
        if self._max_norm is not None:
            nn.utils.clip_grads_with_norm_(weights, self._max_norm, norm)
        self.optimizer.step()
        return norm

"""The moving average of a generator's weights (Yazici et al. 2019; Karras et al. 2018)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

RISE = 0.05  # the half-life is at most this share of all images so far, as in StyleGAN2-ADA


class MovingAverage:
    """Follows a network: weights and batch norm's statistics are averaged, other buffers copied.

    Spectral norm is that of the averaged weights: its vectors take a step of their own each time.

    Args:
        average: A copy of the network, which takes its weights now.
        network: What is followed.
        half_life: Images after which a weight's share in the average has halved.
    """

    def __init__(self, average: nn.Module, network: nn.Module, half_life: int) -> None:
        average.load_state_dict(network.state_dict())
        self._half_life = half_life
        statistics = {
            f"{name}.{key}" if name else key
            for name, layer in network.named_modules()
            if isinstance(layer, _BatchNorm)
            for key in ("running_mean", "running_var")
        }
        weights = {name for name, _ in network.named_parameters()}
        own, followed = average.state_dict(), network.state_dict()
        averaged = [name for name in own if name in weights | statistics]
        self._normed = [layer for layer in average.modules() if is_parametrized(layer, "weight")]
        vectors = {name for name in own if name.endswith(("._u", "._v"))}
        copied = [name for name in own if name not in weights | statistics | vectors]
        self._averaged = [own[name] for name in averaged], [followed[name] for name in averaged]
        self._copied = [own[name] for name in copied], [followed[name] for name in copied]

    @torch.no_grad()
    def follow(self, num_images: int, images_before: int) -> None:
        """Take in the network's weights.

        Args:
            num_images: Images since the last call.
            images_before: Images before them.
        """
        half_life = min(self._half_life, RISE * (images_before + num_images))
        own, followed = self._averaged
        torch._foreach_lerp_(own, followed, 1 - 0.5 ** (num_images / half_life))
        for mine, theirs in zip(*self._copied, strict=True):
            mine.copy_(theirs)
        for layer in self._normed:
            layer.train()
            _ = layer.weight  # computed anew, after one step of the power iteration

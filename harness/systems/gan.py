"""The adversarial game of two networks: Algorithm 1 of Goodfellow et al. 2014 with k = d_steps."""

from __future__ import annotations

import copy
import ctypes
import functools
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.architectures import ARCHITECTURES, Dropout
from harness.config import TrainConfig
from harness.losses import LOSSES
from harness.penalties import PENALTIES
from harness.randomness import Streams, derive_seed, seeded

STREAMS = ("latents", "penalty", "dropout")


@dataclass
class GANState:
    """Everything that a step changes."""

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: torch.optim.Optimizer
    d_optimizer: torch.optim.Optimizer
    streams: Streams
    d_steps_total: int = 0
    g_steps_total: int = 0


class GAN:
    """A generator and a discriminator with their losses and optimisers.

    Args:
        config: The run's settings.
        sample_shape: (C, H, W) of the images.
        device: Where everything lives.
    """

    def __init__(
        self, config: TrainConfig, sample_shape: tuple[int, int, int], device: torch.device
    ) -> None:
        config.check_shape(sample_shape)
        self.config = config
        self.sample_shape = sample_shape
        self.device = device
        self._loss = LOSSES[config.loss]
        self._penalty = PENALTIES[config.penalty]
        # Where no layer of D mixes samples, real and fake images pass together: the same logits,
        # larger matrix products.
        self._joint_pass = config.d_norm != "batch"
        _keep_freed_memory()

    def init(self) -> GANState:
        """Return a freshly initialised state; depends on the config's seed only."""
        config, seed = self.config, self.config.seed
        architecture = ARCHITECTURES[config.architecture]
        with seeded(derive_seed(seed, "generator")):
            generator = architecture.generator(
                config.g_settings, config.latent_dim, self.sample_shape
            )
        with seeded(derive_seed(seed, "discriminator")):
            discriminator = architecture.discriminator(config.d_settings, self.sample_shape)
        generator.to(self.device).train()
        discriminator.to(self.device).train()
        streams = Streams(seed, STREAMS, self.device)
        for module in (*generator.modules(), *discriminator.modules()):
            if isinstance(module, Dropout):
                module.generator = streams["dropout"]
        return GANState(
            generator=generator,
            discriminator=discriminator,
            g_optimizer=_optimizer(config, generator.parameters(), config.g_lr),
            d_optimizer=_optimizer(config, discriminator.parameters(), config.d_lr),
            streams=streams,
        )

    def num_parameters(self) -> dict[str, int]:
        """Return the numbers of trainable parameters of both networks, which are not allocated."""
        config, architecture = self.config, ARCHITECTURES[self.config.architecture]
        with torch.device("meta"):
            networks = {
                "generator": architecture.generator(
                    config.g_settings, config.latent_dim, self.sample_shape
                ),
                "discriminator": architecture.discriminator(config.d_settings, self.sample_shape),
            }
        return {
            name: sum(each.numel() for each in network.parameters())
            for name, network in networks.items()
        }

    def step(self, state: GANState, batch: Tensor) -> dict[str, Tensor]:
        """Run one iteration: `d_steps` discriminator updates, then one generator update.

        Args:
            state: Changed in place.
            batch: One fresh real batch per discriminator update, (d_steps, N, C, H, W) in [-1, 1].

        Returns:
            Scalars on the device, nothing is read back: `d_loss` (penalty included), `g_loss`,
            `d_grad_norm`, `g_grad_norm` (L2 over all parameters), mean logits `d_real_logit` and
            `d_fake_logit`, and where logits are log-odds the mean probabilities `d_real` and
            `d_fake`. D's are means over its updates, each taken before its own update.
        """
        d_measures = [
            self._discriminator_step(state, batch[index]) for index in range(self.config.d_steps)
        ]
        measures = {
            key: torch.stack([each[key] for each in d_measures]).mean() for key in d_measures[0]
        }
        return measures | self._generator_step(state, batch[-1])

    def sample(self, state: GANState, latents: Tensor) -> Tensor:
        """Return images (N, C, H, W) in [-1, 1] for latents (N, latent_dim), in eval mode."""
        state.generator.eval()
        with torch.inference_mode():
            images: Tensor = state.generator(latents)
        state.generator.train()
        return images

    def is_finite(self, state: GANState) -> bool:
        """Return whether all weights are finite (reads back from the device)."""
        tensors = [*state.generator.parameters(), *state.discriminator.parameters()]
        return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())

    def state_dict(self, state: GANState) -> dict[str, Any]:
        """Return all that a bit-exact continuation needs."""
        return {
            "generator": state.generator.state_dict(),
            "discriminator": state.discriminator.state_dict(),
            "g_optimizer": state.g_optimizer.state_dict(),
            "d_optimizer": state.d_optimizer.state_dict(),
            "streams": state.streams.state_dict(),
            "d_steps_total": state.d_steps_total,
            "g_steps_total": state.g_steps_total,
        }

    def load_state_dict(self, state: GANState, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        state.generator.load_state_dict(saved["generator"])
        state.discriminator.load_state_dict(saved["discriminator"])
        # Optimisers keep and change the tensors that they are given.
        state.g_optimizer.load_state_dict(copy.deepcopy(saved["g_optimizer"]))
        state.d_optimizer.load_state_dict(copy.deepcopy(saved["d_optimizer"]))
        state.streams.load_state_dict(saved["streams"])
        state.d_steps_total = saved["d_steps_total"]
        state.g_steps_total = saved["g_steps_total"]

    def _latents(self, state: GANState) -> Tensor:
        shape = (self.config.batch_size, self.config.latent_dim)
        return torch.randn(shape, device=self.device, generator=state.streams["latents"])

    def _discriminator_step(self, state: GANState, real_images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            fake_images = state.generator(self._latents(state))
        if self._joint_pass:
            logits = state.discriminator(torch.cat([real_images, fake_images]))
            real_logits, fake_logits = logits.chunk(2)
        else:
            real_logits = state.discriminator(real_images)
            fake_logits = state.discriminator(fake_images)
        loss = self._loss.discriminator(real_logits, fake_logits)
        interval = self.config.penalty_interval
        if self._penalty is not None and state.d_steps_total % interval == 0:
            penalty = self._penalty(
                state.discriminator, real_images, fake_images, state.streams["penalty"]
            )
            loss = loss + (self.config.penalty_weight or 0.0) * interval * penalty
        norm = _update(state.d_optimizer, loss, state.discriminator)
        if (clip := self.config.weight_clip) is not None:
            with torch.no_grad():
                torch._foreach_clamp_min_(list(state.discriminator.parameters()), -clip)
                torch._foreach_clamp_max_(list(state.discriminator.parameters()), clip)
        state.d_steps_total += 1
        real_logits, fake_logits = real_logits.detach(), fake_logits.detach()
        measures = {
            "d_loss": loss.detach(),
            "d_grad_norm": norm,
            "d_real_logit": real_logits.mean(),
            "d_fake_logit": fake_logits.mean(),
        }
        if self._loss.logits_are_log_odds:
            measures |= {
                "d_real": real_logits.sigmoid().mean(),
                "d_fake": fake_logits.sigmoid().mean(),
            }
        return measures

    def _generator_step(self, state: GANState, real_images: Tensor) -> dict[str, Tensor]:
        fake_logits = state.discriminator(state.generator(self._latents(state)))
        real_logits = fake_logits
        if self._loss.generator_sees_real:
            with torch.no_grad():
                real_logits = state.discriminator(real_images)
        loss = self._loss.generator(real_logits, fake_logits)
        norm = _update(state.g_optimizer, loss, state.generator)
        state.g_steps_total += 1
        return {"g_loss": loss.detach(), "g_grad_norm": norm}


@functools.cache
def _keep_freed_memory() -> None:
    """Let this process keep the memory that tensors on the CPU free, instead of returning it.

    Every step frees and asks for the same megabytes; pages that went back to the system come back
    one fault at a time: 18,000 per DC step of batch 128, a tenth of its time. GPU memory is cached
    by torch itself. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    mmap_threshold, trim_threshold = -3, -1  # names of glibc's malloc.h
    # Below the first threshold blocks come from the heap; a second one of -1 never shrinks it.
    # Without the first the second would do harm: old versions refuse more than 32 MiB.
    if mallopt is not None and mallopt(mmap_threshold, 256 * 2**20):
        mallopt(trim_threshold, -1)


def _update(optimizer: torch.optim.Optimizer, loss: Tensor, module: nn.Module) -> Tensor:
    """Step on the gradients of `module` alone and return their L2 norm, a scalar on the device.

    Naming the inputs spares the other network's weight gradients: they are never computed.
    """
    parameters = list(module.parameters())
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss, inputs=parameters)
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    optimizer.step()
    return norm


def _optimizer(
    config: TrainConfig, parameters: Iterable[nn.Parameter], lr: float
) -> torch.optim.Optimizer:
    """Return the optimiser, with fused updates where torch has them: a good part of an MLP step."""
    decay = config.weight_decay
    match config.optimizer:
        case "adam":
            betas = (config.adam_beta1, config.adam_beta2)
            return torch.optim.Adam(parameters, lr, betas, weight_decay=decay, fused=True)
        case "adamw":
            betas = (config.adam_beta1, config.adam_beta2)
            return torch.optim.AdamW(parameters, lr, betas, weight_decay=decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(parameters, lr, weight_decay=decay, fused=True)

"""The adversarial game of two networks: Algorithm 1 of Goodfellow et al. 2014 with k = d_steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.data import Batch, Facts
from harness.systems.gan.architectures import ARCHITECTURES
from harness.systems.gan.config import GANConfig
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES
from harness.systems.precision import Precision, frozen
from harness.systems.system import Builders, Panel, System, system, update


@system
class GAN(System[GANConfig]):
    """A generator and a discriminator with their losses and optimisers."""

    Config = GANConfig
    streams: ClassVar[tuple[str, ...]] = ("latents", "penalty", "dropout")

    def __init__(
        self,
        config: GANConfig,
        facts: Facts,
        device: torch.device,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(config, facts, device, precision)
        self._loss = LOSSES[config.loss]
        self._penalty = PENALTIES[config.penalty]
        # Where no layer of D mixes samples, real and fake images pass together: the same logits,
        # larger matrix products.
        self._joint_pass = config.d_settings.norm != "batch"
        self.generator, self.discriminator = self.networks.values()
        self._generate = self.in_precision(self.generator)
        self._discriminate = self.in_precision(self.discriminator)
        self.optimizers = {
            "g": _optimizer(config, self.generator.parameters(), config.g_lr),
            "d": _optimizer(config, self.discriminator.parameters(), config.d_lr),
        }

    @classmethod
    def builders(cls, config: GANConfig, facts: Facts) -> Builders:
        """Return what builds generator and discriminator."""
        pair = ARCHITECTURES[config.architecture]
        return {
            "generator": lambda: pair.generator(
                config.g_settings, config.latent_dim, facts.sample_shape
            ),
            "discriminator": lambda: pair.discriminator(config.d_settings, facts.sample_shape),
        }

    @classmethod
    def panels(cls, config: GANConfig) -> tuple[Panel, ...]:
        """Return both losses, and what D gives real and generated images."""
        if LOSSES[config.loss].logits_are_log_odds:
            unit, title = "nats", "probability that D gives"
            keys = ("d_real", "d_fake")
        else:
            unit, title = "loss", "logit that D gives"
            keys = ("d_real_logit", "d_fake_logit")
        given = dict(zip(keys, ("real images", "generated images"), strict=True))
        return (
            Panel(title="discriminator's loss", unit=unit, curves={"d_loss": "D"}),
            Panel(title="generator's loss", unit=unit, curves={"g_loss": "G"}),
            Panel(title=title, unit="mean over a batch", curves=given),
        )

    def step(self, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        """Run one iteration: `d_steps` discriminator updates, then one generator update.

        Every discriminator update takes a fresh real batch.

        Returns:
            Scalars on the device, nothing is read back: `d_loss` (penalty included), `g_loss`,
            `d_grad_norm`, `g_grad_norm` (L2 over all parameters), mean logits `d_real_logit` and
            `d_fake_logit`, and where logits are log-odds the mean probabilities `d_real` and
            `d_fake`. D's are means over its updates, each taken before its own update.
        """
        d_measures = []
        for _ in range(self.config.d_steps):
            real_images = take().images
            d_measures.append(self._discriminator_step(real_images))
        return _means(d_measures) | self._generator_step(real_images)

    def _latents(self) -> Tensor:
        shape = (self.config.batch_size, self.config.latent_dim)
        return torch.randn(shape, device=self.device, generator=self.random["latents"])

    def _discriminator_step(self, real_images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            fake_images = self._generate(self._latents())
        if self._joint_pass:
            logits = self._discriminate(torch.cat([real_images, fake_images]))
            real_logits, fake_logits = logits.chunk(2)
        else:
            real_logits = self._discriminate(real_images)
            fake_logits = self._discriminate(fake_images)
        loss = self._loss.discriminator(real_logits, fake_logits)
        interval = self.config.penalty_interval
        if self._penalty is not None and self.counts["d_steps"] % interval == 0:
            penalty = self._penalty(
                self.discriminator, real_images, fake_images, self.random["penalty"]
            )
            loss = loss + (self.config.penalty_weight or 0.0) * interval * penalty
        norm = update(self.optimizers["d"], loss)
        if (clip := self.config.weight_clip) is not None:
            with torch.no_grad():
                torch._foreach_clamp_min_(list(self.discriminator.parameters()), -clip)
                torch._foreach_clamp_max_(list(self.discriminator.parameters()), clip)
        self.counts["d_steps"] += 1
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

    def _generator_step(self, real_images: Tensor) -> dict[str, Tensor]:
        with frozen(self.discriminator):
            fake_logits = self._discriminate(self._generate(self._latents()))
        real_logits = fake_logits
        if self._loss.generator_sees_real:
            with torch.no_grad():
                real_logits = self._discriminate(real_images)
        loss = self._loss.generator(real_logits, fake_logits)
        norm = update(self.optimizers["g"], loss)
        self.counts["g_steps"] += 1
        return {"g_loss": loss.detach(), "g_grad_norm": norm}


def _means(measures: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(measures) == 1:  # spares a small network's step a dozen calls
        return measures[0]
    return {key: torch.stack([each[key] for each in measures]).mean() for key in measures[0]}


def _optimizer(
    config: GANConfig, parameters: Iterable[nn.Parameter], lr: float
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

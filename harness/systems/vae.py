"""The variational autoencoder: one optimiser, no adversary (Kingma and Welling 2014)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import AfterValidator, create_model
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from harness.config import Count, NonNegative, Positive
from harness.data import Batch, Facts
from harness.errors import HarnessError
from harness.systems.architectures import ARCHITECTURES
from harness.systems.layers import Images, Points
from harness.systems.optimizers import Learner, OptimizerSettings
from harness.systems.pairs import (
    build_discriminator,
    build_generator,
    collected,
    framed,
    pair_config,
    prefixed,
)
from harness.systems.precision import Precision
from harness.systems.system import Builders, Panel, System, system

_Networks: Any = create_model(
    "_Networks",
    __base__=pair_config(("decoder_", "decoder"), ("encoder_", "encoder")),
    **prefixed(OptimizerSettings, "", "Both networks", adam_beta1=0.9),
)


class VAEConfig(_Networks):  # type: ignore[misc]
    """Every setting of a VAE: those of each network, and those below."""

    system: str = "vae"
    """What is trained, and with it which other settings there are."""
    architecture: Annotated[str, AfterValidator(ARCHITECTURES.check)] = "mlp"
    """Pair of networks."""
    latent_dim: Count = 32
    """Size of z ~ N(0, I)."""
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """What a pixel is given z: `bernoulli` with its grey value as probability, or `gaussian`."""
    noise_sd: Positive = 0.5
    """Standard deviation of the Gaussian pixels, in units of images in [-1, 1]."""
    kl_weight: NonNegative = 1.0
    """Weight of the divergence; 1 makes the loss a bound on the likelihood (beta-VAE otherwise)."""
    lr: Positive = 1e-3
    """Learning rate."""

    def check(self, facts: Facts) -> None:
        """Raise HarnessError if such a pair cannot be trained on such data."""
        super().check(facts)
        if self.d_settings.minibatch_std:
            raise HarnessError(
                "encoder_minibatch_std = True: what is inferred of an image would depend on "
                "others, and the loss would be no bound; leave it out"
            )
        if self.likelihood == "bernoulli" and not facts.kind.bounded:
            raise HarnessError(
                f"likelihood = 'bernoulli': {self.dataset} has {facts.kind.noun}, whose values are "
                "no shares of white; use 'gaussian'"
            )


@system
class VAE(System[VAEConfig]):
    """Variational autoencoder with Bernoulli or Gaussian pixels (Kingma and Welling 2014)."""

    Config = VAEConfig
    streams: ClassVar[tuple[str, ...]] = ("posterior", "dropout")

    def __init__(
        self,
        config: VAEConfig,
        facts: Facts,
        device: torch.device,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(config, facts, device, precision)
        decoder = self.networks["decoder"]
        assert isinstance(decoder, nn.Sequential)
        self._last = decoder[-1]
        self._encode = self.in_precision(self.networks["encoder"])
        self._decode = self.in_precision(decoder[:-1])
        weights = [p for network in self.networks.values() for p in network.parameters()]
        self._learner = Learner(weights, config.lr, collected(OptimizerSettings, "", config))
        self.optimizers = {"both": self._learner.optimizer}

    @classmethod
    def builders(cls, config: VAEConfig, facts: Facts) -> Builders:
        """Return what builds the encoder, images -> (N, 2 latent_dim), and the decoder."""
        shape = config.framed_shape(facts)
        return {
            "encoder": lambda: build_discriminator(config, shape, 2 * config.latent_dim),
            "decoder": lambda: build_generator(config, facts),
        }

    @classmethod
    def sampled(cls, config: VAEConfig) -> str:
        """Return the decoder, whose outputs are means of pixels."""
        return "decoder"

    @classmethod
    def panels(cls, config: VAEConfig) -> tuple[Panel, ...]:
        """Return the loss and its two terms."""
        terms = {"reconstruction": "-log p(x|z)", "divergence": "KL(q(z|x), p(z))"}
        return (
            Panel(title="negative evidence bound", unit="nats per image", curves={"loss": "VAE"}),
            Panel(title="its terms", unit="nats per image", curves=terms),
        )

    def step(self, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        """Take one step on the negative evidence lower bound, with one draw of z per image.

        Returns:
            Means over the batch, in nats per image: `loss` (the divergence weighted),
            `reconstruction` and `divergence`; and `grad_norm`, L2 over all parameters.
        """
        self._learner.set_rate(done)
        images = take().images
        mean, log_variance = self._encode(framed(images, self.config)).chunk(2, dim=1)
        noise = torch.randn(mean.shape, device=self.device, generator=self.random["posterior"])
        latents = mean + noise * (log_variance / 2).exp()
        reconstruction = self._surprise(latents, images)
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean() / 2
        loss = reconstruction + self.config.kl_weight * divergence
        norm = self._learner.update(loss)
        self.counts["steps"] += 1
        return {
            "loss": loss.detach(),
            "reconstruction": reconstruction.detach(),
            "divergence": divergence.detach(),
            "grad_norm": norm,
        }

    def _surprise(self, latents: Tensor, images: Tensor) -> Tensor:
        """Return -log p(x|z), summed over pixels without their frame, its mean over the batch."""
        assert isinstance(self._last, Images | Points)
        outputs = self._last.crop(self._decode(latents))
        if self.config.likelihood == "bernoulli":
            assert isinstance(self._last, Images)
            log_odds, shares = self._last.log_odds(outputs), (images + 1) / 2
            entropy = binary_cross_entropy_with_logits(log_odds, shares, reduction="sum")
            return entropy / len(images)
        sd = self.config.noise_sd
        squares: Tensor = ((self._last(outputs) - images) / sd).square().flatten(1).sum(1).mean()
        return squares / 2 + images[0].numel() * math.log(sd * math.sqrt(2 * math.pi))

"""The variational autoencoder: one optimiser, no adversary (Kingma and Welling 2014)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from harness.config import Count, Fraction, NonNegative, Positive
from harness.data import Batch, Facts
from harness.systems.config import TrainConfig
from harness.systems.precision import Precision
from harness.systems.system import Builders, Panel, System, system, update


class VAEConfig(TrainConfig):
    """Settings of a VAE with fully connected networks."""

    system: str = "vae"
    """What is trained, and with it which other settings there are."""
    latent_dim: Count = 32
    """Size of z ~ N(0, I)."""
    width: Count = 256
    """Units of every hidden layer."""
    depth: Count = 2
    """Hidden layers of either network."""
    decoder: Literal["bernoulli", "gaussian"] = "bernoulli"
    """What a pixel is given z: `bernoulli` with its grey value as probability, or `gaussian`."""
    noise_sd: Positive = 0.5
    """Standard deviation of the Gaussian decoder, in units of images in [-1, 1]."""
    kl_weight: NonNegative = 1.0
    """Weight of the divergence; 1 makes the loss a bound on the likelihood (beta-VAE otherwise)."""
    lr: Positive = 1e-3
    """Adam's learning rate."""
    adam_beta1: Fraction = 0.9
    """Decay of Adam's first moment."""
    adam_beta2: Fraction = 0.999
    """Decay of Adam's second moment."""


@system
class VAE(System[VAEConfig]):
    """Variational autoencoder with a Bernoulli or Gaussian decoder (Kingma and Welling 2014)."""

    Config = VAEConfig
    streams: ClassVar[tuple[str, ...]] = ("posterior",)

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
        self._encode = self.in_precision(self.networks["encoder"])
        self._decode = self.in_precision(decoder[:-1])  # without its tanh
        weights = [p for network in self.networks.values() for p in network.parameters()]
        betas = (config.adam_beta1, config.adam_beta2)
        self.optimizers = {"adam": torch.optim.Adam(weights, config.lr, betas, fused=True)}

    @classmethod
    def builders(cls, config: VAEConfig, facts: Facts) -> Builders:
        """Return what builds the encoder, images -> (N, 2 latent_dim), and the decoder."""
        num_pixels, width = math.prod(facts.sample_shape), config.width
        return {
            "encoder": lambda: nn.Sequential(
                nn.Flatten(),
                *_hidden(num_pixels, width, config.depth),
                nn.Linear(width, 2 * config.latent_dim),
            ),
            "decoder": lambda: nn.Sequential(
                *_hidden(config.latent_dim, width, config.depth),
                nn.Linear(width, num_pixels),
                nn.Unflatten(1, facts.sample_shape),
                nn.Tanh(),
            ),
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
        """Take one Adam step on the negative evidence lower bound, with one draw of z per image.

        Returns:
            Means over the batch, in nats per image: `loss` (the divergence weighted),
            `reconstruction` and `divergence`; and `grad_norm`, L2 over all parameters.
        """
        images = take().images
        mean, log_variance = self._encode(images).chunk(2, dim=1)
        noise = torch.randn(mean.shape, device=self.device, generator=self.random["posterior"])
        latents = mean + noise * (log_variance / 2).exp()
        reconstruction = self._surprise(latents, images)
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean() / 2
        loss = reconstruction + self.config.kl_weight * divergence
        norm = update(self.optimizers["adam"], loss)
        self.counts["steps"] += 1
        return {
            "loss": loss.detach(),
            "reconstruction": reconstruction.detach(),
            "divergence": divergence.detach(),
            "grad_norm": norm,
        }

    def _surprise(self, latents: Tensor, images: Tensor) -> Tensor:
        """Return -log p(x|z), summed over pixels, its mean over the batch.

        Before their tanh the decoder's outputs are half a Bernoulli pixel's log-odds:
        tanh(l) = 2 sigmoid(2 l) - 1 is its mean as an image in [-1, 1].
        """
        outputs = self._decode(latents)
        if self.config.decoder == "bernoulli":
            log_odds, shares = 2 * outputs, (images + 1) / 2
            entropy = binary_cross_entropy_with_logits(log_odds, shares, reduction="sum")
            return entropy / len(images)
        sd = self.config.noise_sd
        squares: Tensor = ((outputs.tanh() - images) / sd).square().flatten(1).sum(1).mean()
        return squares / 2 + images[0].numel() * math.log(sd * math.sqrt(2 * math.pi))


def _hidden(num_inputs: int, width: int, depth: int) -> list[nn.Module]:
    sizes = [num_inputs, *[width] * depth]
    return [
        layer
        for before, after in itertools.pairwise(sizes)
        for layer in (nn.Linear(before, after), nn.ReLU())
    ]

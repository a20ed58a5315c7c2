"""Adversarial losses on the discriminator's logits.

To add one, write a function that returns a `Loss` and decorate it with `@loss`: from there it is a
legal value of `loss` in study files and `--set`, a variant by itself, a line of
`harness list losses` and a case of the conformance tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu, softplus

from harness.registry import Registry, first_line


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What each player minimises. Logits are (N, 1), results are scalars: batch means.

    Attributes:
        discriminator: (real_logits, fake_logits) -> D's loss, the *sum* of its real and fake terms.
        generator: (real_logits, fake_logits) -> G's loss; `real_logits` carry no gradient to G.
        generator_sees_real: Whether `generator` uses `real_logits`; if not, it is handed the fake
            logits twice and D is not evaluated on real images in G's step.
        logits_are_log_odds: Whether sigmoid(logit) estimates the probability that an image is real,
            so that mean D(x) and D(G(z)) can be read as probabilities.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    generator_sees_real: bool = False
    logits_are_log_odds: bool = False


LOSSES: Registry[Loss] = Registry("loss")


def loss(make: Callable[[], Loss]) -> Callable[[], Loss]:
    """Register the loss that `make` returns under the function's name."""
    LOSSES.add(make.__name__, make(), first_line(make))
    return make


def _cross_entropy(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log sigmoid(real) - log(1 - sigmoid(fake)), in a form that does not overflow."""
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


@loss
def minimax() -> Loss:
    """Minimax: G minimises log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1)."""
    return Loss(
        discriminator=_cross_entropy,
        generator=lambda real, fake: -softplus(fake).mean(),
        logits_are_log_odds=True,
    )


@loss
def non_saturating() -> Loss:
    """Non-saturating: G maximises log D(G(z)) (Goodfellow et al. 2014, section 3)."""
    return Loss(
        discriminator=_cross_entropy,
        generator=lambda real, fake: softplus(-fake).mean(),
        logits_are_log_odds=True,
    )


@loss
def least_squares() -> Loss:
    """Least squares with targets 1 and 0 (Mao et al. 2017, eq. 9)."""
    return Loss(
        discriminator=lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        generator=lambda real, fake: (fake - 1).square().mean() / 2,
    )


@loss
def hinge() -> Loss:
    """Hinge (Lim and Ye 2017; Miyato et al. 2018, eq. 16 and 17)."""
    return Loss(
        discriminator=lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(),
        generator=lambda real, fake: -fake.mean(),
    )


@loss
def wasserstein() -> Loss:
    """Wasserstein: mean difference; wants clipping or a penalty (Arjovsky et al. 2017, eq. 3)."""
    return Loss(
        discriminator=lambda real, fake: fake.mean() - real.mean(),
        generator=lambda real, fake: -fake.mean(),
    )


def _relativistic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    real_term = softplus(-(real_logits - fake_logits.mean())).mean()
    return real_term + softplus(fake_logits - real_logits.mean()).mean()


@loss
def relativistic_average() -> Loss:
    """Relativistic average: real against the mean fake (Jolicoeur-Martineau 2018, RaSGAN)."""
    return Loss(
        discriminator=_relativistic,
        generator=lambda real, fake: _relativistic(fake, real),
        generator_sees_real=True,
    )

"""Adversarial losses on the discriminator's logits.

To add one, write a function that returns a `Loss` and decorate it with `@loss`: from there it is a
legal value of `loss` in study files and `--set`, a variant by itself, a line of
`harness list losses` and a case of the conformance tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor
from torch.nn.functional import relu, softplus

from harness.registry import Registry, first_line

Term: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What each player minimises. Logits are (N, 1), results are scalars: batch means.

    Attributes:
        discriminator: (real_logits, fake_logits) -> D's loss, the *sum* of its real and fake terms.
        generator: (real_logits, fake_logits) -> G's loss; `real_logits` carry no gradient to G.
        generator_sees_real: Whether `generator` uses `real_logits`; if not, it is handed the fake
            logits twice and D is not evaluated on real images in G's step.
        terms: What one real and one generated image add to D's loss, elementwise (N, 1) -> (N, 1),
            if that loss is a mean over images; without them labels are neither smoothed nor
            flipped. `of_terms` makes such a loss.
        logits_are_log_odds: Whether sigmoid(logit) estimates the probability that an image is real,
            so that mean D(x) and D(G(z)) can be read as probabilities.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    generator_sees_real: bool = False
    terms: tuple[Term, Term] | None = None
    logits_are_log_odds: bool = False


LOSSES: Registry[Loss] = Registry("loss")


def loss(make: Callable[[], Loss]) -> Callable[[], Loss]:
    """Register the loss that `make` returns under the function's name."""
    LOSSES.add(make.__name__, make(), first_line(make))
    return make


def of_terms(
    real: Term,
    fake: Term,
    generator: Callable[[Tensor, Tensor], Tensor],
    *,
    logits_are_log_odds: bool = False,
) -> Loss:
    """Return the loss whose discriminator minimises mean real term plus mean fake term."""
    return Loss(
        discriminator=lambda real_logits, fake_logits: (
            real(real_logits).mean() + fake(fake_logits).mean()
        ),
        generator=generator,
        terms=(real, fake),
        logits_are_log_odds=logits_are_log_odds,
    )


def _surprise(logits: Tensor) -> Tensor:
    """-log sigmoid(logit), in a form that does not overflow."""
    return softplus(-logits)


@loss
def minimax() -> Loss:
    """Minimax: G minimises log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1)."""
    return of_terms(
        _surprise,
        softplus,
        generator=lambda real, fake: -softplus(fake).mean(),
        logits_are_log_odds=True,
    )


@loss
def non_saturating() -> Loss:
    """Non-saturating: G maximises log D(G(z)) (Goodfellow et al. 2014, section 3)."""
    return of_terms(
        _surprise,
        softplus,
        generator=lambda real, fake: _surprise(fake).mean(),
        logits_are_log_odds=True,
    )


@loss
def least_squares() -> Loss:
    """Least squares with targets 1 and 0 (Mao et al. 2017, eq. 9)."""
    return of_terms(
        lambda real: (real - 1).square() / 2,
        lambda fake: fake.square() / 2,
        generator=lambda real, fake: (fake - 1).square().mean() / 2,
    )


@loss
def hinge() -> Loss:
    """Hinge (Lim and Ye 2017; Miyato et al. 2018, eq. 16 and 17)."""
    return of_terms(
        lambda real: relu(1 - real),
        lambda fake: relu(1 + fake),
        generator=lambda real, fake: -fake.mean(),
    )


@loss
def wasserstein() -> Loss:
    """Wasserstein: mean difference; wants clipping or a penalty (Arjovsky et al. 2017, eq. 3)."""
    return of_terms(
        lambda real: -real,
        lambda fake: fake,
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


@loss
def relativistic_pairing() -> Loss:
    """Relativistic pairing: each real against one fake (Huang et al. 2024, R3GAN, eq. 2)."""
    return Loss(
        discriminator=lambda real, fake: softplus(fake - real).mean(),
        generator=lambda real, fake: softplus(real - fake).mean(),
        generator_sees_real=True,
    )

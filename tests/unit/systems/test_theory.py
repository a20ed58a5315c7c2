"""What theory says of the game where all densities are known, found by training (Goodfellow 2014).

For a fixed G the best D is p_data / (p_data + p_g), and its value -log 4 + 2 JSD(p_data, p_g). The
harness's own loop trains D here; to put the analytic D into that value would only test algebra.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from harness.config import parse
from harness.data import Facts, Mixture, load_dataset
from harness.run.loop import train
from harness.systems import draw_inputs
from harness.systems.gan import GAN, GANConfig
from harness.systems.system import Builders

DRAWN = 200_000  # so many that the estimate's standard error is below 0.002 nats


class Shift(nn.Module):
    """G(z) = z + mu, so that samples are N(mu, 1)."""

    def __init__(self, mu: float) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.tensor(mu))

    def forward(self, latents: Tensor) -> Tensor:
        return latents + self.mu


def fixed(mu: float) -> GAN:
    """Return a game on the dataset `gaussian` whose G never moves."""

    class Fixed(GAN):
        @classmethod
        def builders(cls, config: GANConfig, facts: Facts) -> Builders:
            return {**super().builders(config, facts), "generator": lambda: Shift(mu)}

        def _generator_step(
            self, real_images: Tensor, classes: tuple[Tensor, ...]
        ) -> dict[str, Tensor]:
            return {}

    settings = {
        "dataset": "gaussian",
        "architecture": "points",
        "latent_dim": 1,
        "batch_size": 512,
        "d_lr": 3e-3,
        "schedule": "cosine",
        "average": 0,
        "budget": {"d_steps": 800},
    }
    facts = load_dataset("gaussian", Path("unused")).facts
    return Fixed(parse(GANConfig, settings, "test"), facts, torch.device("cpu"))


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_d_finds_the_best_answer_and_the_divergence(mu: float) -> None:
    game = fixed(mu)
    *_, last = train(game, load_dataset("gaussian", Path("unused")).train, milestones=1)
    assert last.progress.counts["d_steps"] == 800
    judge = game.discriminator.eval()
    real, fake = (Mixture(means=((mean,),), sd=1.0) for mean in (0.0, mu))

    # Quadrature, on a grid far finer than the densities change.
    places = torch.linspace(-10, 12, 22_001, dtype=torch.float64)[:, None]
    p, q = real.density(places), fake.density(places)
    mean = (p + q) / 2
    terms = [torch.special.xlogy(each, each / mean) for each in (p, q)]
    divergence = float(torch.trapezoid(sum(terms) / 2, places[:, 0]))  # type: ignore[arg-type]
    assert 0 < divergence < math.log(2)

    with torch.inference_mode():
        best, found = p / (p + q), judge(places.float())[:, 0].sigmoid()
        dense = (p > 0.01 * p.max()) | (q > 0.01 * q.max())
        assert (found - best)[dense].abs().max() < 0.05

        # The value on samples that D has never seen.
        held_out, _ = real.draw(DRAWN, seed=1)
        made = game.generator(*draw_inputs(game.config, game.facts, DRAWN, seed=2))
        value = logsigmoid(judge(held_out)).mean() + logsigmoid(-judge(made)).mean()
    assert (float(value) + math.log(4)) / 2 == pytest.approx(divergence, abs=0.005)

"""Two translators that undo each other (Zhu et al. 2017, "Unpaired Image-to-Image Translation")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.data import Batch, Facts, Part, to_unit_range
from harness.data.pictures import Picture, stacked_grid
from harness.systems.cyclegan.config import CycleGANConfig
from harness.systems.cyclegan.networks import patch_discriminator, translator
from harness.systems.cyclegan.pool import from_pool
from harness.systems.generator import generate
from harness.systems.initialise import initialise
from harness.systems.optimizers import Learner, OptimizerSettings
from harness.systems.pairs import collected
from harness.systems.precision import Precision, frozen
from harness.systems.system import Builders, Panel, System, refuse_label, system

SHOWN = 27  # images of a picture, which are three rows of nine


@system
class CycleGAN(System[CycleGANConfig]):
    """Unpaired translation between two domains, cycle-consistent (Zhu et al. 2017)."""

    Config = CycleGANConfig
    streams: ClassVar[tuple[str, ...]] = ("pool",)

    def __init__(
        self,
        config: CycleGANConfig,
        facts: Facts,
        device: torch.device,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(config, facts, device, precision)
        settings = collected(OptimizerSettings, "", config)
        self._learners = {
            name: Learner(
                [each for key in keys for each in self.networks[key].parameters()], lr, settings
            )
            for name, keys, lr in (
                ("g", ("ab", "ba"), config.g_lr),
                ("d", ("d_a", "d_b"), config.d_lr),
            )
        }
        self.optimizers = {name: each.optimizer for name, each in self._learners.items()}
        self._to_b, self._to_a, self._judge_a, self._judge_b = (
            self.in_precision(self.networks[name]) for name in ("ab", "ba", "d_a", "d_b")
        )
        assert facts.source_shape is not None
        for name, shape in (("pool_a", facts.source_shape), ("pool_b", facts.sample_shape)):
            self.buffers[name] = torch.zeros(config.pool_size, *shape, device=device)

    @classmethod
    def builders(cls, config: CycleGANConfig, facts: Facts) -> Builders:
        """Return what builds translators A to B and B to A, and the discriminators of A and B."""
        assert facts.source_shape is not None
        a, b = facts.source_shape[0], facts.sample_shape[0]

        def translating(num_inputs: int, num_outputs: int) -> nn.Module:
            network = translator(
                num_inputs,
                num_outputs,
                width=config.g_width,
                downsamplings=config.downsamplings,
                residual_blocks=config.residual_blocks,
            )
            return initialise(network, "normal")

        def judging(num_inputs: int) -> nn.Module:
            network = patch_discriminator(num_inputs, width=config.d_width, depth=config.d_depth)
            return initialise(network, "normal")

        return {
            "ab": lambda: translating(a, b),
            "ba": lambda: translating(b, a),
            "d_a": lambda: judging(a),
            "d_b": lambda: judging(b),
        }

    @classmethod
    def sampled(cls, config: CycleGANConfig) -> str:
        """Return the translator from A to B."""
        return "ab"

    @classmethod
    def returning(cls, config: CycleGANConfig) -> str:
        """Return the translator from B to A."""
        return "ba"

    @classmethod
    def panels(cls, config: CycleGANConfig) -> tuple[Panel, ...]:
        """Return the translators' terms, unweighted, and what the discriminators do."""
        terms = {"adversarial_loss": "adversarial", "cycle_loss": "cycle"}
        if config.identity_weight:
            terms["identity_loss"] = "identity"
        given = {"d_real_logit": "real images", "d_fake_logit": "translations"}
        unit = "loss"
        return (
            Panel(title="translators' loss", unit=unit, curves={"g_loss": "weighted sum"}),
            Panel(title="its terms, both directions", unit=unit, curves=terms),
            Panel(title="discriminators' loss", unit=unit, curves={"d_loss": "both"}),
            Panel(title="logit that discriminators give", unit="mean over a batch", curves=given),
        )

    @classmethod
    def pictures(cls, config: CycleGANConfig) -> Mapping[str, str]:
        """Return the two pictures of held-out images."""
        shows = "held-out images of {}, below each its translation, and below that the way back"
        return {
            "there_and_back": shows.format("the first domain"),
            "back_and_there": shows.format("the second domain"),
        }

    def draw(self, real: Part, *, final: bool) -> Mapping[str, Picture]:
        """Return the first images of both domains, their translations, and these translated back.

        As they are scored: rounded to 8 bits on the way.
        """
        assert real.counterpart is not None
        to_b, to_a = self.networks["ab"], self.networks["ba"]

        def picture(images: Tensor, there: nn.Module, back: nn.Module) -> Picture:
            translated = generate(there, (to_unit_range(images),))
            return stacked_grid(images, translated, generate(back, (to_unit_range(translated),)))

        return {
            "there_and_back": picture(real.counterpart.images[:SHOWN], to_b, to_a),
            "back_and_there": picture(real.images[:SHOWN], to_a, to_b),
        }

    @classmethod
    def draw_inputs(
        cls,
        config: CycleGANConfig,
        facts: Facts,
        num: int,
        generator: torch.Generator,
        label: int | None = None,
        sources: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return the first images to translate, (num, C, H, W) in [-1, 1]; nothing is drawn."""
        refuse_label(config, label)
        assert sources is not None
        return (to_unit_range(sources[:num]),)

    def step(self, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        """Update both translators, then both discriminators, on one batch of either domain.

        Translators minimise (D - 1)² on their translations (least squares: section 4), plus
        `cycle_weight` times the mean absolute difference of images and what comes back (equation
        2), plus `identity_weight` of that weight times the change of images that are in the target
        domain already (section 5.2). Discriminators minimise half of (D - 1)² on real images plus
        D² on translations of now and earlier.

        Returns:
            Scalars on the device: `g_loss` and its unweighted terms `adversarial_loss`,
            `cycle_loss` and `identity_loss`, each the sum of both directions; `d_loss` of both;
            `g_grad_norm`, `d_grad_norm`; mean logits `d_real_logit` and `d_fake_logit`.
        """
        for learner in self._learners.values():
            learner.set_rate(done)
        batch = take()
        assert batch.counterpart is not None
        a, b = batch.counterpart.images, batch.images
        measures, fake_a, fake_b = self._translators_step(a, b)
        return measures | self._discriminators_step(a, b, fake_a, fake_b)

    def _translators_step(self, a: Tensor, b: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return measures and the translations that they rest on, without gradients."""
        fake_b, fake_a = self._to_b(a), self._to_a(b)
        cycle = l1(self._to_a(fake_b), a) + l1(self._to_b(fake_a), b)
        with frozen(self.networks["d_a"]), frozen(self.networks["d_b"]):
            judged = self._judge_b(fake_b), self._judge_a(fake_a)
        adversarial = squared(judged[0], 1.0) + squared(judged[1], 1.0)
        loss = adversarial + self.config.cycle_weight * cycle
        measures = {"adversarial_loss": adversarial, "cycle_loss": cycle}
        if self.config.identity_weight:
            identity = l1(self._to_b(b), b) + l1(self._to_a(a), a)
            loss = loss + self.config.cycle_weight * self.config.identity_weight * identity
            measures["identity_loss"] = identity
        measures["g_loss"] = loss
        norm = self._learners["g"].update(loss)
        self.counts["g_steps"] += 1
        measures = {key: value.detach() for key, value in measures.items()}
        return measures | {"g_grad_norm": norm}, fake_a.detach(), fake_b.detach()

    def _discriminators_step(
        self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor
    ) -> dict[str, Tensor]:
        num_before = self.counts["d_steps"] * self.config.batch_size
        fake_a, fake_b = (
            from_pool(fakes, self.buffers[name], num_before, self.random["pool"])
            for name, fakes in (("pool_a", fake_a), ("pool_b", fake_b))
        )
        # Their norms are of each image alone, so real images and translations pass together.
        real_a, judged_a = self._judge_a(torch.cat([a, fake_a])).chunk(2)
        real_b, judged_b = self._judge_b(torch.cat([b, fake_b])).chunk(2)
        real = squared(real_a, 1.0) + squared(real_b, 1.0)
        loss = (real + squared(judged_a, 0.0) + squared(judged_b, 0.0)) / 2
        norm = self._learners["d"].update(loss)
        self.counts["d_steps"] += 1
        return {
            "d_loss": loss.detach(),
            "d_grad_norm": norm,
            "d_real_logit": (real_a.detach().mean() + real_b.detach().mean()) / 2,
            "d_fake_logit": (judged_a.detach().mean() + judged_b.detach().mean()) / 2,
        }


def l1(images: Tensor, others: Tensor) -> Tensor:
    """Return the mean absolute difference of images in [-1, 1]."""
    return (images - others).abs().mean()


def squared(logits: Tensor, wanted: float) -> Tensor:
    """Return the mean squared difference of logits and what they are to be."""
    return (logits - wanted).square().mean()

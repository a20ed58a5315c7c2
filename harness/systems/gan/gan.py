"""The adversarial game of two networks: Algorithm 1 of Goodfellow et al. 2014 with k = d_steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.data import DENSITIES, Batch, Facts, Part
from harness.data.pictures import Picture
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan.adaptive import adapt
from harness.systems.gan.augment import AUGMENTATIONS, named
from harness.systems.gan.average import MovingAverage
from harness.systems.gan.conditional import LABEL_DIM, Concatenating, OfClass, Projecting
from harness.systems.gan.config import GANConfig
from harness.systems.gan.labels import Labels
from harness.systems.gan.levels import CAPTIONS, KEY, NUM_SAMPLES, plot_levels
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.mixing import mixed
from harness.systems.gan.path_length import path_length, path_lengths
from harness.systems.gan.penalties import PENALTIES
from harness.systems.gan.prior import PRIORS, truncated_normal
from harness.systems.gan.start import STARTS, file_of, start_from
from harness.systems.gan.views import Views
from harness.systems.generator import draw_inputs, generate
from harness.systems.optimizers import Learner
from harness.systems.pairs import build_discriminator, build_generator, framed
from harness.systems.precision import Precision, frozen
from harness.systems.system import Builders, Panel, System, refuse_label, system

PICTURE_SEED = 0  # the same inputs in every run of a study, so pictures compare across arms


@system
class GAN(System[GANConfig]):
    """A generator and a discriminator with their losses and optimisers."""

    Config = GANConfig
    streams: ClassVar[tuple[str, ...]] = (
        "latents",
        "penalty",
        "dropout",
        "labels",
        "noise",
        "augment",
    )

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
        self._labels = Labels(config, self.random["labels"])
        self._draw = PRIORS[config.prior]
        self.generator, self.discriminator = (
            self.networks[name] for name in ("generator", "discriminator")
        )
        for key, network in (("g_from", self.generator), ("d_from", self.discriminator)):
            start_from(config, key, network)
        self._generate = self.in_precision(self.generator)
        self._discriminate = self.in_precision(self.discriminator)
        # Where no layer of D mixes samples, real and fake images pass together: the same logits,
        # larger matrix products.
        settings = config.d_settings
        self._joint_pass = settings.norm != "batch" and not settings.minibatch_std
        self._learners = {
            "g": Learner(self.generator.parameters(), config.g_lr, config.optimizer_settings("g_")),
            "d": Learner(
                self.discriminator.parameters(), config.d_lr, config.optimizer_settings("d_")
            ),
        }
        self.optimizers = {name: each.optimizer for name, each in self._learners.items()}
        self._average = None
        if config.average:
            average = self.networks["average"]
            self._average = MovingAverage(average, self.generator, config.average)
        if config.augment_target is not None:
            self.buffers["augmented"] = torch.zeros((), device=device)
        if config.path_length:
            self.buffers["path_length"] = torch.zeros((), device=device)
        count = ARCHITECTURES[config.architecture].num_styles
        self._num_styles = count(config.g_settings) if count and config.mixing else None
        self._views = Views(config, self.random, self.buffers.get("augmented"))
        self._change_reals = [AUGMENTATIONS[name] for name in named(config.augment_reals)]

    @classmethod
    def builders(cls, config: GANConfig, facts: Facts) -> Builders:
        """Return what builds generator, discriminator and, where there is one, the average."""
        num, *sides = config.framed_shape(facts)
        shape = (config.pack * num, *sides)
        num_classes = facts.num_classes

        def generator() -> nn.Module:
            if config.conditioning == "none":
                return build_generator(config, facts)
            return OfClass(build_generator(config, facts, LABEL_DIM), num_classes)

        def discriminator() -> nn.Module:
            match config.conditioning:
                case "concatenation":
                    told = (num + 1, *sides)
                    return Concatenating(build_discriminator(config, told), num_classes, shape)
                case "projection":
                    return Projecting(build_discriminator(config, shape, 1 + num_classes))
            return build_discriminator(config, shape)

        builders = {"generator": generator, "discriminator": discriminator}
        if config.average:
            builders["average"] = lambda: generator().requires_grad_(False)
        return builders

    @classmethod
    def sampled(cls, config: GANConfig) -> str:
        """Return the generator's moving average, where there is one."""
        return "average" if config.average else "generator"

    @classmethod
    def period(cls, config: GANConfig) -> int:
        """Return the least number of iterations that holds whole intervals of lazy regularisers."""
        intervals = [1]
        if PENALTIES[config.penalty] is not None:
            interval = config.penalty_interval  # counted in D's updates
            intervals.append(interval // math.gcd(interval, config.d_steps))
        if config.path_length:
            intervals.append(config.path_length_interval)
        return math.lcm(*intervals)

    @classmethod
    def panels(cls, config: GANConfig) -> tuple[Panel, ...]:
        """Return both losses, what D gives real and generated images, and what knobs adapt."""
        if LOSSES[config.loss].logits_are_log_odds:
            unit, title = "nats", "probability that D gives"
            keys = ("d_real", "d_fake")
        else:
            unit, title = "loss", "logit that D gives"
            keys = ("d_real_logit", "d_fake_logit")
        given = dict(zip(keys, ("real images", "generated images"), strict=True))
        panels = [
            Panel(title="discriminator's loss", unit=unit, curves={"d_loss": "D"}),
            Panel(title="generator's loss", unit=unit, curves={"g_loss": "G"}),
            Panel(title=title, unit="mean over a batch", curves=given),
        ]
        if config.augment_target is not None:
            curves = {"augmented": "of all that D sees"}
            panels.append(Panel(title="augmented images", unit="share", curves=curves))
        if config.path_length:
            unit, curves = "pixels per style, L2", {"path_length": "running mean"}
            panels.append(Panel(title="path length", unit=unit, curves=curves))
        return tuple(panels)

    @classmethod
    def pictures(cls, config: GANConfig) -> Mapping[str, str]:
        """Return those of this architecture's generators, and D's levels of single points."""
        own = ARCHITECTURES[config.architecture].pictures
        pictures = {key: picture.shows for key, picture in own.items()}
        alone = config.pack == 1 and config.conditioning == "none"
        alone = alone and not config.d_settings.minibatch_std
        density = DENSITIES.get(config.dataset) if alone else None
        if density is not None and density.num_dims in CAPTIONS:
            pictures[KEY] = CAPTIONS[density.num_dims]
        return pictures

    def draw(self, real: Part, *, final: bool) -> Mapping[str, Picture]:
        """Return D's levels beside samples; at the end the others, of inputs all runs share."""
        pictures: dict[str, Picture] = {}
        config, density = self.config, self.facts.density
        if density is not None and KEY in self.pictures(config):
            inputs = draw_inputs(config, self.facts, NUM_SAMPLES[density.num_dims], PICTURE_SEED)
            pictures[KEY] = plot_levels(
                self._judgement,
                generate(self.generator, inputs),
                density,
                probabilities=self._loss.logits_are_log_odds,
            )
        sampled = self.networks[self.sampled(config)]
        for key, own in ARCHITECTURES[config.architecture].pictures.items() if final else ():
            pictures[key] = own.draw(
                config.g_settings,
                draw_inputs(config, self.facts, own.num_samples, PICTURE_SEED),
                lambda inputs: generate(sampled, inputs),
            )
        return pictures

    @torch.inference_mode()
    def _judgement(self, places: Tensor) -> Tensor:
        """Return what D gives samples, (N,) on the CPU: probabilities if its logits allow it."""
        logits: Tensor = self.discriminator(places.to(self.device))[:, 0].float().cpu()
        return logits.sigmoid() if self._loss.logits_are_log_odds else logits

    @classmethod
    def draw_inputs(
        cls,
        config: GANConfig,
        facts: Facts,
        num: int,
        generator: torch.Generator,
        label: int | None = None,
        sources: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return latents (num, latent_dim), and classes (num,) where the generator takes them.

        Classes are drawn as often as the data have them, unless all are to be of one.
        """
        shape = (num, config.latent_dim)
        if config.truncation is None:
            latents = PRIORS[config.prior](shape, generator)
        else:
            latents = truncated_normal(shape, config.truncation, generator)
        if config.conditioning == "none":
            refuse_label(config, label)
            return (latents,)
        classes = facts.draw_classes(num, generator)
        return latents, classes if label is None else torch.full_like(classes, label)

    @classmethod
    def asked_classes(cls, config: GANConfig, inputs: tuple[Tensor, ...]) -> Tensor | None:
        """Return the classes of a conditional generator's inputs."""
        return None if config.conditioning == "none" else inputs[1]

    @classmethod
    def sources(cls, config: GANConfig) -> dict[str, str]:
        """Return the hashes of exported weights that the networks start from."""
        return {key: file_of(config, key).sha256 for key in STARTS if getattr(config, key)}

    def step(self, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        """Run one iteration: `d_steps` discriminator updates, then one generator update.

        Every discriminator update takes a fresh real batch. Images that G makes are of the classes
        of the real ones.

        Returns:
            Scalars on the device, nothing is read back: `d_loss` and `g_loss` (regularisers
            included), `d_grad_norm`, `g_grad_norm` (L2 over all parameters, before clipping), mean
            logits `d_real_logit` and `d_fake_logit`, and where logits are log-odds the mean
            probabilities `d_real` and `d_fake`. D's are means over its updates, each taken before
            its own update. `path_length`, the running mean, where that is regularised.
        """
        for learner in self._learners.values():
            learner.set_rate(done)
        self._views.set_time(done)
        d_measures = []
        for _ in range(self.config.d_steps):
            batch = take()
            real_images = self._views(self._real(batch))
            classes = self._classes(batch)
            d_measures.append(self._discriminator_step(real_images, classes))
        return _means(d_measures) | self._generator_step(real_images, classes)

    def _discriminator_step(
        self, real_images: Tensor, classes: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            fake_images = self._views(self._generate(self._latents(), *classes))
        real_logits, fake_logits = self._judge(real_images, fake_images, classes)
        loss = self._labels.loss(real_logits, fake_logits)
        interval = self.config.penalty_interval
        if self._penalty is not None and self.counts["d_steps"] % interval == 0:
            penalty = self._penalty(
                lambda images: self.discriminator(images, *classes),
                real_images,
                fake_images,
                self.random["penalty"],
            )
            assert self.config.penalty_weight is not None
            loss = loss + self.config.penalty_weight * interval * penalty
        norm = self._learners["d"].update(loss)
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
        if self.config.augment_target is not None:
            share = self.buffers["augmented"]
            measures["augmented"] = share.clone()
            adapt(share, real_logits, self.config.augment_target, self.config.batch_size)
        return measures

    def _generator_step(
        self, real_images: Tensor, classes: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        with frozen(self.discriminator):
            fake_images = self._views(self._generate(self._latents(), *classes))
            fake_logits = self._discriminate(fake_images, *classes)
        real_logits = fake_logits
        if self._loss.generator_sees_real:
            with torch.no_grad():
                real_logits = self._discriminate(real_images, *classes)
        loss = self._loss.generator(real_logits, fake_logits)
        measures = {}
        if self.config.path_length:
            measures["path_length"] = self.buffers["path_length"].clone()
            if self.counts["g_steps"] % self.config.path_length_interval == 0:
                loss = loss + self._path_length(classes)
        norm = self._learners["g"].update(loss)
        if self._average is not None:
            size = self.config.batch_size
            self._average.follow(size, self.counts["g_steps"] * size)
        self.counts["g_steps"] += 1
        return {"g_loss": loss.detach(), "g_grad_norm": norm, **measures}

    def _path_length(self, classes: tuple[Tensor, ...]) -> Tensor:
        """Return the weighted regulariser of half a batch; the network itself, in float32."""
        half = math.ceil(self.config.batch_size / 2)
        inputs = tuple(each[:half] for each in (self._latents(), *classes))
        lengths = path_lengths(self.generator, inputs, self.random["penalty"])
        weight = self.config.path_length * self.config.path_length_interval
        return weight * path_length(lengths, self.buffers["path_length"])

    def _real(self, batch: Batch) -> Tensor:
        images = batch.images
        for change in self._change_reals:
            images = change(images, self.random["augment"])
        return framed(images, self.config)

    def _classes(self, batch: Batch) -> tuple[Tensor, ...]:
        if self.config.conditioning == "none":
            return ()
        assert batch.labels is not None
        return (batch.labels,)

    def _latents(self) -> Tensor:
        shape, random = (self.config.batch_size, self.config.latent_dim), self.random["latents"]
        latents = self._draw(shape, random)
        if self._num_styles is None:
            return latents
        return mixed(
            latents, self._draw(shape, random), self._num_styles, self.config.mixing, random
        )

    def _judge(
        self, real_images: Tensor, fake_images: Tensor, classes: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        if self._joint_pass:
            twice = (torch.cat([each, each]) for each in classes)
            logits = self._discriminate(torch.cat([real_images, fake_images]), *twice)
            real_logits, fake_logits = logits.chunk(2)
            return real_logits, fake_logits
        return (
            self._discriminate(real_images, *classes),
            self._discriminate(fake_images, *classes),
        )


def _means(measures: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(measures) == 1:  # spares a small network's step a dozen calls
        return measures[0]
    return {key: torch.stack([each[key] for each in measures]).mean() for key in measures[0]}

"""Small StyleGAN2: styles scale the maps of every layer (Karras et al. 2019 and 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from harness.data.pictures import Picture, image_grid
from harness.systems.architectures.pair import (
    ARCHITECTURES,
    Architecture,
    Complaint,
    DiscriminatorSettings,
    GeneratorSettings,
    OwnPicture,
    SampleShape,
    both,
    hidden,
)
from harness.systems.blocks import MinibatchStd, SelfAttention
from harness.systems.convolutions import Flatten, halving
from harness.systems.styles import Mapping, ModulatedConv, Noise, Styles, crossed

KERNEL = 3
GRID_SIDE = 8  # coarse and fine styles of the picture


def num_styles(settings: GeneratorSettings) -> int:
    """Return one style for the first layer, two a doubling, and one for the last image."""
    return 2 * settings.depth + 2


def generator(settings: GeneratorSettings, latent_dim: int, sample_shape: SampleShape) -> nn.Module:
    """Return latents (N, latent_dim), or one per style, -> styles -> maps -> pixels."""
    return nn.Sequential(
        Mapping(latent_dim, settings.mapping, settings.activation),
        Styles(num_styles(settings), latent_dim, settings.psi),
        Synthesis(settings, latent_dim, sample_shape),
    )


class Layer(nn.Module):
    """A modulated convolution, noise, and what follows any hidden layer.

    Args:
        settings: The generator's.
        num_inputs: Maps in.
        num_outputs: Maps out.
        num_features: Numbers of a style.
        sides: Rows and columns of a map.
    """

    def __init__(
        self,
        settings: GeneratorSettings,
        num_inputs: int,
        num_outputs: int,
        num_features: int,
        sides: tuple[int, int],
    ) -> None:
        super().__init__()
        self.convolve = ModulatedConv(
            num_inputs, num_outputs, KERNEL, num_features, demodulated=settings.demodulation
        )
        self.noise = Noise(*sides) if settings.noise else None
        if settings.noise:
            self.strength = nn.Parameter(torch.zeros(()))
        self.after = nn.Sequential(*hidden(settings, num_outputs, spatial=True))

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        """Return maps (N, num_outputs, H, W)."""
        maps = self.convolve(maps, style)
        if self.noise is not None:
            maps = maps + (self.strength * self.noise(maps)).to(maps.dtype)
        after: Tensor = self.after(maps)
        return after


class Synthesis(nn.Module):
    """Styles (N, num_styles, num_features) -> pixels (N, C, H, W), from learned small maps.

    The last maps have `width` channels, those of each smaller resolution twice as many. A
    resolution's image shares its style with the layer that follows. Sides are doubled by
    interpolation, which inside of an image is the published filter (1, 3, 3, 1).

    Args:
        settings: The generator's.
        num_features: Numbers of a style.
        sample_shape: (C, H, W).
    """

    def __init__(
        self, settings: GeneratorSettings, num_features: int, sample_shape: SampleShape
    ) -> None:
        super().__init__()
        channels, height, width = sample_shape
        scale = 2**settings.depth
        num_inputs = settings.width * scale
        self.start = nn.Parameter(torch.randn(num_inputs, height // scale, width // scale))
        self.layers = nn.ModuleList()
        self.to_image = nn.ModuleDict()
        for number in range(2 * settings.depth + 1):  # sides are doubled before every odd one
            scale = 2 ** (settings.depth - (number + 1) // 2)
            num_maps, sides = settings.width * scale, (height // scale, width // scale)
            layer = Layer(settings, num_inputs, num_maps, num_features, sides)
            self.layers.append(layer)
            num_inputs = num_maps
            is_last = number == 2 * settings.depth
            if is_last or (settings.skip and number % 2 == 0):
                self.to_image[str(number)] = ModulatedConv(
                    num_maps, channels, 1, num_features, demodulated=False
                )
        if settings.attention:
            layer.after.append(SelfAttention(num_inputs))

    def forward(self, styles: Tensor) -> Tensor:
        """Return any numbers (N, C, H, W), of which a tanh makes pixels."""
        each = styles.unbind(dim=1)
        maps = self.start.expand(len(styles), -1, -1, -1)
        image: Tensor | None = None
        for number, layer in enumerate(self.layers):
            maps = layer(_doubled(maps) if number % 2 else maps, each[number])
            if (key := str(number)) in self.to_image:
                more = self.to_image[key](maps, each[number + 1])
                image = more if image is None else _doubled(image) + more
        assert image is not None
        return image


def _doubled(maps: Tensor) -> Tensor:
    return interpolate(maps, scale_factor=2, mode="bilinear")


def discriminator(
    settings: DiscriminatorSettings, sample_shape: SampleShape, num_outputs: int
) -> nn.Module:
    """Return images -> `depth` residual blocks -> a convolution, a hidden layer -> outputs.

    The first maps have `width` channels, those of each smaller resolution twice as many.
    """
    channels, height, width = sample_shape
    num_maps = settings.width
    layers: list[nn.Module] = [
        nn.Conv2d(channels, num_maps, 1),
        *hidden(settings, num_maps, spatial=True),
    ]
    if settings.attention:
        layers.append(SelfAttention(num_maps))
    for _ in range(settings.depth):
        layers.append(Halved(settings, num_maps))
        num_maps *= 2
    spread = [MinibatchStd()] if settings.minibatch_std else []
    scale = 2**settings.depth
    return nn.Sequential(
        *layers,
        *spread,
        nn.Conv2d(num_maps + len(spread), num_maps, KERNEL, padding=KERNEL // 2),
        *hidden(settings, num_maps, spatial=True),
        Flatten(),
        nn.Linear(num_maps * (height // scale) * (width // scale), num_maps),
        *hidden(settings, num_maps, spatial=False),
        nn.Linear(num_maps, num_outputs),
    )


class Halved(nn.Module):
    """Maps (N, C, H, W) -> (N, 2 C, H/2, W/2): two convolutions, beside one of the mean pixels.

    Their sum is divided by the root of 2 to keep its variance (Karras et al. 2020, section 4.1).

    Args:
        settings: The discriminator's.
        num_maps: C.
    """

    def __init__(self, settings: DiscriminatorSettings, num_maps: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(num_maps, num_maps, KERNEL, padding=KERNEL // 2),
            *hidden(settings, num_maps, spatial=True),
            halving(num_maps, 2 * num_maps, settings.kernel or 4),
            *hidden(settings, 2 * num_maps, spatial=True),
        )
        self.beside = nn.Conv2d(num_maps, 2 * num_maps, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of half the sides."""
        both: Tensor = self.change(maps) + self.beside(avg_pool2d(maps, 2))
        return both / math.sqrt(2)


def complaint(
    generator: GeneratorSettings, discriminator: DiscriminatorSettings, sample_shape: SampleShape
) -> Complaint | None:
    """Return why the pair cannot make samples of this shape, or None."""
    _, height, width = sample_shape
    if generator.kernel is not None:
        return Complaint("generator", "kernel", "its maps are doubled by interpolation")
    for network, settings in both(generator, discriminator):
        scale = 2**settings.depth
        if height % scale or width % scale:
            reason = f"image sides must be divisible by {scale}, not {height}x{width}"
            return Complaint(network, "depth", reason)
        if settings.norm == "instance" and height == width == scale:
            return Complaint(network, "norm", "maps of one pixel have no spread; lessen the depth")
    return None


def mixed_styles(
    settings: GeneratorSettings,
    inputs: tuple[Tensor, ...],
    images_of: Callable[[tuple[Tensor, ...]], Tensor],
) -> Picture:
    """Return a grid whose rows give coarse and columns fine styles (Karras et al. 2019, figure 3).

    The sources stand at the left and above. The finer half of the styles is fine; classes are
    those of the rows.
    """
    latents, *more = inputs
    sources = images_of(inputs)
    rows, columns = torch.meshgrid(
        torch.arange(GRID_SIDE), torch.arange(GRID_SIDE, 2 * GRID_SIDE), indexing="ij"
    )
    coarse, fine = rows.flatten(), columns.flatten()
    total = num_styles(settings)
    places = torch.full((len(coarse),), total // 2)
    mixed = crossed(latents[coarse], latents[fine], places, total)
    mixes = images_of((mixed, *(each[coarse] for each in more)))
    blank = torch.full_like(sources[:1], 128)
    shown = [blank, sources[GRID_SIDE:]]
    for row in range(GRID_SIDE):
        shown += [sources[row : row + 1], mixes[row * GRID_SIDE : (row + 1) * GRID_SIDE]]
    return image_grid(torch.cat(shown), GRID_SIDE + 1)


ARCHITECTURES.add(
    "stylegan",
    Architecture(
        generator=generator,
        discriminator=discriminator,
        generator_defaults={
            "width": 32,
            "depth": 2,
            "norm": "none",
            "activation": "leaky_relu",
            "init": "orthogonal",
            "mapping": 4,
            "demodulation": True,
            "noise": True,
            "skip": True,
        },
        discriminator_defaults={"width": 32, "depth": 2, "init": "orthogonal"},
        gan_defaults={"mixing": 0.9},
        complaint=complaint,
        num_styles=num_styles,
        pictures={
            "styles": OwnPicture(
                shows="styles mixed: coarse ones of the left, fine ones of the top",
                num_samples=2 * GRID_SIDE,
                draw=mixed_styles,
            )
        },
    ),
    "Styles scale the maps of every layer, residual D (small StyleGAN2); sides 2^depth divides",
)

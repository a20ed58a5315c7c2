"""The networks of Zhu et al. 2017, section 4 and appendix 7.2, at the size of small images."""

from __future__ import annotations

from torch import Tensor, nn

from harness.systems.layers import normalisation

KERNEL = 7  # of a translator's first and last layer


def translator(
    num_inputs: int, num_outputs: int, *, width: int, downsamplings: int, residual_blocks: int
) -> nn.Sequential:
    """Return a network from images (N, num_inputs, H, W) to images (N, num_outputs, H, W).

    Args:
        num_inputs: Channels of what it takes, in [-1, 1].
        num_outputs: Channels of what it makes, in [-1, 1].
        width: Channels after the first layer, doubled by every halving of the side.
        downsamplings: How often the side is halved before the residual blocks; doubled after them.
        residual_blocks: How many there are.
    """
    layers = _layer(_mirrored(num_inputs, width, KERNEL), width)
    for _ in range(downsamplings):
        halving = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        layers += _layer(halving, 2 * width)
        width *= 2
    layers += [ResidualBlock(width) for _ in range(residual_blocks)]
    for _ in range(downsamplings):
        doubling = nn.ConvTranspose2d(
            width, width // 2, 3, stride=2, padding=1, output_padding=1, bias=False
        )
        layers += _layer(doubling, width // 2)
        width //= 2
    return nn.Sequential(*layers, _mirrored(width, num_outputs, KERNEL, bias=True), nn.Tanh())


class ResidualBlock(nn.Module):
    """x + f(x): two 3x3 convolutions with instance norm, a ReLU between them and none after.

    Args:
        num_features: Channels, in and out.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            *_layer(_mirrored(num_features, num_features, 3), num_features),
            *_layer(_mirrored(num_features, num_features, 3), num_features)[:-1],
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return maps of the inputs' shape (N, C, H, W)."""
        change: Tensor = self.change(inputs)
        return inputs + change


def patch_discriminator(num_inputs: int, *, width: int, depth: int) -> nn.Sequential:
    """Return a network that judges patches: images (N, num_inputs, H, W) -> logits (N, 1, h, w).

    Every logit sees a square of 8, 18 or 38 pixels for a depth of 1, 2 or 3; the paper's 70 would
    be more than a small image.

    Args:
        num_inputs: Channels of images in [-1, 1].
        width: Channels after the first layer, doubled by every later one.
        depth: How often the side is halved.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(num_inputs, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
    ]
    for _ in range(depth - 1):
        layers += [
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            *normalisation("instance", 2 * width, spatial=True),
            nn.LeakyReLU(0.2),
        ]
        width *= 2
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))


def _mirrored(num_inputs: int, num_outputs: int, kernel: int, *, bias: bool = False) -> nn.Conv2d:
    """Return a convolution that keeps the side and sees images mirrored at their edges."""
    return nn.Conv2d(
        num_inputs, num_outputs, kernel, padding=kernel // 2, padding_mode="reflect", bias=bias
    )


def _layer(convolution: nn.Module, num_outputs: int) -> list[nn.Module]:
    """Return a convolution, whose norm makes up for its bias, and what follows it."""
    return [convolution, *normalisation("instance", num_outputs, spatial=True), nn.ReLU()]

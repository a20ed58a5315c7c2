"""The game of a generator and a discriminator: settings, losses, penalties, architectures, step."""

from harness.systems.gan.config import GANConfig
from harness.systems.gan.gan import GAN

__all__ = ["GAN", "GANConfig"]

"""Images of one domain made into those of another, without pairs (Zhu et al. 2017)."""

from harness.systems.cyclegan.config import CycleGANConfig
from harness.systems.cyclegan.cyclegan import CycleGAN

__all__ = ["CycleGAN", "CycleGANConfig"]

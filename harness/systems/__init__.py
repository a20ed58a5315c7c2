"""What is trained: a system initialises, steps and samples; budgets and records are not its."""

from harness.systems.gan import GAN, GANState

__all__ = ["GAN", "GANState"]

"""What is trained: a system initialises, steps and samples; it knows nothing of budgets or records."""

from harness.systems.gan import GAN, GANState

__all__ = ["GAN", "GANState"]

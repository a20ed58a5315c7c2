"""Small GANs and bit-for-bit comparison, shared by the tests of systems and of their training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.config import parse
from harness.data import Facts
from harness.systems.gan import GAN, GANConfig

SMALL: dict[str, Any] = {
    "dataset": "digits",
    "image_size": 8,
    "architecture": "mlp",
    "latent_dim": 3,
    "batch_size": 4,
    "g_width": 4,
    "d_width": 4,
    # Plain networks: what a test is about it adds.
    "g_activation": "relu",
    "g_norm_after": False,
    "d_norm": "none",
    "d_dropout": 0.0,
    "average": 0,
}


def _flat(thing: Any, path: str = "") -> dict[str, Any]:
    """Return {path: value} of nested dicts and lists, tensors cloned."""
    if isinstance(thing, dict):
        pairs: Any = thing.items()
    elif isinstance(thing, list | tuple):
        pairs = enumerate(thing)
    else:
        return {path: thing.clone() if isinstance(thing, Tensor) else thing}
    return {k: v for key, each in pairs for k, v in _flat(each, f"{path}.{key}").items()}


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether two results of `flat` are equal bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[key]) if isinstance(value, Tensor) else value == second[key]
        for key, value in first.items()
    )


@pytest.fixture(scope="session")
def flat() -> Callable[..., dict[str, Any]]:
    """Return the function that turns nested dicts and lists into {path: value}."""
    return _flat


@pytest.fixture(scope="session")
def same() -> Callable[..., bool]:
    """Return the function that compares two such results."""
    return _same


def _small_gan(kind: type[GAN], **settings: Any) -> GAN:
    """Return a small GAN, or one of a subclass, for grey images of 8x8, in batches of 4."""
    config = parse(GANConfig, SMALL | settings, "test")
    return kind(config, Facts(sample_shape=(1, 8, 8)), torch.device("cpu"))


@pytest.fixture(scope="session")
def small_gan() -> Callable[..., GAN]:
    """Return the function that makes small GANs of given depths."""
    return _small_gan

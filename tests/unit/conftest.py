"""Bit-for-bit comparison of nested states, shared by the tests of systems and of their training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor


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

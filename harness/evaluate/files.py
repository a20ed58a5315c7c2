"""Cache files of features and figures, which may be found damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from harness.evaluate.features import Features
from harness.files import write_atomically


def write_features(path: Path, features: Features) -> None:
    """Write features, and class probabilities where there are any, with their checksum."""
    tensors = {"values": features.values.contiguous()}
    if features.classes is not None:
        tensors["classes"] = features.classes.contiguous()
    header = {"sha256": _checksum(tensors)}
    write_atomically(path, safetensors.torch.save(tensors, header))


def read_features(path: Path) -> Features | None:
    """Return the features in a file, or None if it is missing or damaged."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            intact = (file.metadata() or {}).get("sha256") == _checksum(tensors)
    except (OSError, SafetensorError):
        return None
    if not intact or "values" not in tensors:
        return None
    return Features(values=tensors["values"], classes=tensors.get("classes"))


def read_figures(path: Path) -> dict[str, float] | None:
    """Return named numbers from a JSON file, or None if it is missing or damaged."""
    try:
        figures = json.loads(path.read_bytes())
        return {str(name): float(value) for name, value in figures.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()

"""Cache files that several processes may write at once and that may be found damaged."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from harness.evaluate.features import Features


def write_atomically(path: Path, contents: bytes) -> None:
    """Write a file so that a reader sees all of it or none; the last writer wins."""
    temporary = _temporary(path, contents)
    os.replace(temporary, path)


def write_once(path: Path, contents: bytes) -> None:
    """Write a file unless there is one; the first writer wins."""
    temporary = _temporary(path, contents)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def _temporary(path: Path, contents: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(contents)
    return Path(name)


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()

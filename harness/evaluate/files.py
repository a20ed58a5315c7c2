"""Cache files that several processes may write at once and that may be found damaged."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor


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


def write_features(path: Path, features: Tensor) -> None:
    """Write (N, d) features with their checksum."""
    header = {"sha256": _checksum(features)}
    write_atomically(path, safetensors.torch.save({"features": features.contiguous()}, header))


def read_features(path: Path) -> Tensor | None:
    """Return the features in a file, or None if it is missing or damaged."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            features: Tensor = file.get_tensor("features")
            intact = (file.metadata() or {}).get("sha256") == _checksum(features)
    except (OSError, SafetensorError):
        return None
    return features if intact else None


def _temporary(path: Path, contents: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(contents)
    return Path(name)


def _checksum(features: Tensor) -> str:
    return hashlib.sha256(features.contiguous().numpy().tobytes()).hexdigest()

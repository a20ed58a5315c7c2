"""Files that several processes may write at once: a reader sees all of one or none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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


def _temporary(path: Path, contents: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(contents)
    return Path(name)

"""Files that several processes may write at once, of which a reader sees all or none; our own."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent


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


def source_digest() -> str:
    """Return what changes with any source file of the package, presets included."""
    files = sorted(file for file in PACKAGE.rglob("*") if file.suffix in (".py", ".toml"))
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(states).encode()).hexdigest()


def _temporary(path: Path, contents: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(contents)
    return Path(name)

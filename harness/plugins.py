"""A user's own losses, architectures, datasets and systems, registered beside the package's.

A plugin is a Python file or module that uses the registries' decorators. It is named on the command
line, or announced by an installed package as an entry point of the group `harness.plugins`; a study
file cannot name one, since reading a file must not run code.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from harness.errors import HarnessError

GROUP = "harness.plugins"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

_sources: dict[str, str] = {}  # name -> what it was loaded from, a file or a module
_hashes: dict[str, str] = {}


def load_plugins(sources: Iterable[str] = ()) -> None:
    """Import plugins, and those that installed packages announce; each once per process.

    Args:
        sources: Files ending in .py, or names of importable modules.

    Raises:
        HarnessError: One is missing, cannot be imported, or registers a name that is taken.
    """
    announced = [point.module for point in entry_points(group=GROUP)]
    for source in (*announced, *sources):
        name = Path(source).stem if source.endswith(".py") else source
        if not NAME.fullmatch(name):
            raise HarnessError(
                f"--plugin {source}: allowed are files ending in .py and modules, named by "
                "letters, digits, '_', '-' and '.'"
            )
        place = str(Path(source).resolve()) if source.endswith(".py") else source
        if _sources.get(name) == place:
            continue
        if name in _sources:
            raise HarnessError(f"--plugin {source}: {_sources[name]} already has the name {name!r}")
        try:
            module = _import_file(name, Path(place)) if place.endswith(".py") else _import(place)
        except (Exception, SystemExit) as error:
            reason = (str(error).splitlines() or [""])[0]
            message = f"--plugin {source}: {type(error).__name__}: {reason}"
            raise HarnessError(message) from None
        if module.__file__ is None:
            raise HarnessError(f"--plugin {source}: is a folder without code of its own")
        _sources[name] = place
        _hashes[name] = _hash(Path(module.__file__))


def plugin_sources() -> tuple[str, ...]:
    """Return what has been loaded, so that another process can load the same."""
    return tuple(_sources.values())


def plugin_hashes() -> dict[str, str]:
    """Return name -> first 16 hex digits of the SHA-256 of its code, of all that are loaded.

    The code is its file or, of a package, all Python files in its folder.
    """
    return dict(_hashes)


def check_plugins(recorded: Mapping[str, str], owner: str, *, exactly: bool = False) -> None:
    """Raise HarnessError unless the plugins that something was made with are loaded.

    Args:
        recorded: Name -> hash, as `plugin_hashes` returned it then.
        owner: What was made with them, for the message.
        exactly: Whether their code must be the same too and nothing else may be loaded, as where
            training goes on.
    """
    if exactly and (others := sorted(_hashes.keys() - recorded.keys())):
        raise HarnessError(
            f"{owner} was started without the plugin {others[0]!r}: leave it out, or start a new "
            "study under another name"
        )
    for name, digest in recorded.items():
        if name not in _hashes:
            raise HarnessError(f"{owner} was made with the plugin {name!r}: name it with --plugin")
        if exactly and _hashes[name] != digest:
            raise HarnessError(
                f"{owner} was started with another version of the plugin {name!r} (sha256 "
                f"{digest}, here {_hashes[name]}): restore it, or start a new study "
                "under another name"
            )


def _hash(file: Path) -> str:
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    digest = hashlib.sha256()
    for each in files:
        digest.update(each.read_bytes())
    return digest.hexdigest()[:16]


def _import_file(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"harness_plugin_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


def _import(name: str) -> ModuleType:
    sys.path.insert(0, "")  # a module beside the study, as `python -m` would find it
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove("")

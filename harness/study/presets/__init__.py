"""Named settings of published or widely used systems, one TOML file each."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from harness.errors import unknown_name


def list_presets() -> dict[str, str]:
    """Return {name: one-line description}."""
    files = resources.files(__name__).iterdir()
    names = sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))
    return {name: _read(name)["description"] for name in names}


def load_preset(name: str) -> dict[str, Any]:
    """Return a preset's settings.

    Raises:
        HarnessError: There is no such preset.
    """
    if name not in list_presets():
        raise unknown_name("preset", name, list_presets())
    settings: dict[str, Any] = _read(name)["settings"]
    return settings


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(__name__).joinpath(f"{name}.toml").read_text())

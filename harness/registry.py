"""Named building blocks: what a study file may say is what has been registered here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from harness.errors import HarnessError, unknown_name

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


class Registry(Generic[T]):
    """A mapping from public names to building blocks of one kind.

    Args:
        noun: What an entry is called in error messages and in `harness list`, e.g. "loss".
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._entries: dict[str, T] = {}
        self._descriptions: dict[str, str] = {}

    def add(self, name: str, entry: T, description: str) -> None:
        """Register `entry` under `name`; a name is taken once."""
        if name in self._entries:
            raise ValueError(f"the {self.noun} {name!r} is registered twice")
        self._entries[name] = entry
        self._descriptions[name] = description

    def __getitem__(self, name: str) -> T:
        """Return the entry.

        Raises:
            HarnessError: No entry has this name; the message suggests the nearest one.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise unknown_name(self.noun, name, self._entries) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def describe(self) -> dict[str, str]:
        """Return {name: one-line description} in order of registration."""
        return dict(self._descriptions)

    def check(self, name: str) -> str:
        """Return `name` if it is registered; as a pydantic validator, so it raises ValueError."""
        try:
            self[name]
        except HarnessError as error:
            raise ValueError(str(error)) from None
        return name


def import_all(package: str) -> None:
    """Import every module of a package: what lies there is registered, and nothing lists it."""
    for module in pkgutil.iter_modules(sys.modules[package].__path__):
        importlib.import_module(f"{package}.{module.name}")


def first_line(thing: object) -> str:
    """Return the first line of an object's docstring without its final full stop."""
    return (inspect.getdoc(thing) or "").partition("\n")[0].rstrip(".")

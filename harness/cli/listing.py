"""What `harness list` prints, kept beside the bytecode: to import torch for it takes seconds."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points

from harness.files import PACKAGE, source_digest, write_atomically

KEPT = PACKAGE / "__pycache__" / "catalogue.json"

Entries = Mapping[str, str]


def kinds_and_entries(*, plugins: bool) -> tuple[Entries, Mapping[str, Entries]]:
    """Return what there is to list, by kind: what each is, and its entries with descriptions.

    Args:
        plugins: Whether code beside the package was loaded, whose entries are not kept.
    """
    stamp = source_digest()
    plugins = plugins or bool(entry_points(group="harness.plugins"))
    if not plugins:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(KEPT.read_text())
            if kept["stamp"] == stamp:
                return kept["kinds"], kept["entries"]
    from harness.catalogue import CATALOGUE

    kinds = {name: noun for name, (noun, _) in CATALOGUE.items()}
    entries = {name: describe() for name, (_, describe) in CATALOGUE.items()}
    if not plugins and not sys.dont_write_bytecode:
        with contextlib.suppress(OSError):  # the package lies where nobody may write
            KEPT.parent.mkdir(exist_ok=True)
            content = {"stamp": stamp, "kinds": kinds, "entries": entries}
            write_atomically(KEPT, json.dumps(content).encode())
    return kinds, entries

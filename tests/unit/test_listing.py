"""What `harness list` prints without importing torch: the catalogue, as the sources have it now."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.catalogue import CATALOGUE
from harness.cli import listing
from harness.cli.listing import kinds_and_entries

EXPECTED = (
    {name: noun for name, (noun, _) in CATALOGUE.items()},
    {name: describe() for name, (_, describe) in CATALOGUE.items()},
)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the listing is kept, in a folder that does not exist yet."""
    file = tmp_path / "cache" / "catalogue.json"
    monkeypatch.setattr(listing, "KEPT", file)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return file


def test_what_is_kept_is_the_catalogue(kept: Path) -> None:
    assert kinds_and_entries(plugins=False) == EXPECTED
    assert kept.exists()
    assert kinds_and_entries(plugins=False) == EXPECTED


def test_it_is_read_and_not_made_again(kept: Path) -> None:
    kinds_and_entries(plugins=False)
    content = json.loads(kept.read_text())
    content["entries"]["losses"]["marked"] = "x"
    kept.write_text(json.dumps(content))
    assert "marked" in kinds_and_entries(plugins=False)[1]["losses"]
    assert kinds_and_entries(plugins=True) == EXPECTED


@pytest.mark.parametrize(
    "broken", ["", "{", "[]", '{"stamp": "other", "kinds": {}, "entries": {}}']
)
def test_what_cannot_be_believed_is_made_again(kept: Path, broken: str) -> None:
    kept.parent.mkdir()
    kept.write_text(broken)
    assert kinds_and_entries(plugins=False) == EXPECTED


def test_installed_plugins_are_never_kept(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "entry_points", lambda group: ["one"])
    assert kinds_and_entries(plugins=False) == EXPECTED
    assert not kept.exists()


def test_nothing_is_kept_where_nothing_can_be(kept: Path) -> None:
    kept.parent.write_text("a file in the way")
    assert kinds_and_entries(plugins=False) == EXPECTED


def test_the_second_listing_does_without_torch(kept: Path) -> None:
    kinds_and_entries(plugins=False)
    code = (
        "import sys, pathlib; from harness.cli import listing; "
        f"listing.KEPT = pathlib.Path({str(kept)!r}); "
        "listing.kinds_and_entries(plugins=False); print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"

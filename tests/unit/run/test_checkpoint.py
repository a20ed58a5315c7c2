"""Checkpoints: read back as written, whole or not at all, and without executing anything."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.run.checkpoint import load_checkpoint, save_checkpoint


class Trap:
    """An object whose unpickling leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_a_checkpoint_is_read_back(tmp_path: Path) -> None:
    content = {
        "config": "{}",
        "step": 7,
        "seconds": 1.5,
        "rng": torch.Generator().manual_seed(3).get_state(),
        "nested": {"weights": [torch.arange(3.0), None, True]},
    }
    file = tmp_path / "new" / "run.pt"
    save_checkpoint(file, content)
    read = load_checkpoint(file)
    assert read is not None
    assert (read["config"], read["step"], read["seconds"]) == ("{}", 7, 1.5)
    assert torch.equal(read["rng"], content["rng"])
    assert torch.equal(read["nested"]["weights"][0], torch.arange(3.0))
    assert read["nested"]["weights"][1:] == [None, True]
    assert [path.name for path in file.parent.iterdir()] == ["run.pt"]
    save_checkpoint(file, {"step": 8})
    assert load_checkpoint(file) == {"step": 8}


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none.pt") is None


def test_a_crash_while_writing_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.pt"
    save_checkpoint(file, {"step": 1})
    save = torch.save

    def crash(content: Any, path: Any, **options: Any) -> None:
        save(content, path, **options)
        with open(path, "r+b") as half:
            half.truncate(20)
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(file, {"step": 2})
    assert load_checkpoint(file) == {"step": 1}
    monkeypatch.undo()
    save_checkpoint(file, {"step": 3})  # what the crash left behind is in nobody's way
    assert load_checkpoint(file) == {"step": 3}


def test_a_crash_before_the_first_checkpoint_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(content: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "run.pt", {"step": 1})
    assert load_checkpoint(tmp_path / "run.pt") is None


def test_loading_a_checkpoint_executes_no_pickled_code(tmp_path: Path) -> None:
    mark, file = tmp_path / "mark", tmp_path / "run.pt"
    torch.save({"step": Trap(mark)}, file)
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(file)
    assert not mark.exists()

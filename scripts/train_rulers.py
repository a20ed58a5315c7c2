"""Train a shipped ruler: `python scripts/train_rulers.py digits --data-dir data`.

A second one, which judges what the first has measured: `--recipe judge_v1`.

A published ruler is never overwritten: a change of recipe makes a new version under a new name.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch

from harness.data import load_dataset
from harness.evaluate.ruler import (
    FOLDER,
    RECIPE,
    RECIPES,
    dump_ruler,
    make_ruler,
    ruler_name,
)

FEATURES = {"digits": 32, "mnist": 64}


def main() -> None:
    """Train one ruler, write it and print the facts that belong into the code and the docs."""
    parser = argparse.ArgumentParser(description="Train a ruler that ships with the package.")
    parser.add_argument("dataset", choices=FEATURES)
    parser.add_argument("--recipe", choices=RECIPES, default=RECIPE)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out-dir", type=Path, default=FOLDER)
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # the number of threads changes the last bits
    name = ruler_name(arguments.dataset, arguments.recipe)
    path = arguments.out_dir / f"{name}.safetensors"
    if path.exists():
        parser.error(f"{path} exists; a ruler is never overwritten: raise its version")
    dataset = load_dataset(arguments.dataset, arguments.data_dir)
    ruler, facts = make_ruler(dataset, FEATURES[arguments.dataset], arguments.recipe)
    contents = dump_ruler(ruler, facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    print(f"{path.name}: {len(contents):,} bytes, recipe {facts.recipe}")
    print(f"validation accuracy {facts.validation_accuracy:.4f}, test {facts.test_accuracy:.4f}")
    print(f"sha256 {hashlib.sha256(contents).hexdigest()}")


if __name__ == "__main__":
    main()

"""How long until a folder of images is ready: at first, later, and by a plain loop.

`python benchmarks/folders.py --data-dir data` writes real pictures (Fashion-MNIST, or MNIST where
that is all there is) as 60,000 JPEGs of 32x32, in random tints, with train/, test/ and class
folders, and times in fresh processes, imports excluded: a loop that opens, decodes and stacks them,
as everyone writes it; the harness with an empty cache; the harness again; and again after all times
of the files have changed. Ready means: loaded, and the digest of the record computed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hardware import hardware, versions
from PIL import Image

from harness.data import load_dataset
from harness.errors import HarnessError

SIDE = 32
QUALITY = 90
PLAIN, FIRST, AGAIN, TOUCHED = "plain loop", "first start", "later start", "times changed"


def write_folder(root: Path, data_dir: Path, num: int) -> str:
    """Write `num` JPEGs, five sixths of them for training, and return what they show."""
    try:
        dataset = load_dataset("fashion_mnist", data_dir, SIDE)
    except HarnessError:
        dataset = load_dataset("mnist", data_dir, SIDE)
    random = np.random.default_rng(0)
    num_test = num // 6
    for split, part, size in (
        ("train", dataset.train, num - num_test),
        ("test", dataset.test, num_test),
    ):
        assert part.labels is not None
        for place in range(size):
            at = place % len(part)
            folder = root / split / f"class {part.labels[at]}"
            folder.mkdir(parents=True, exist_ok=True)
            tinted = part.images[at, 0, :, :, None].numpy() * random.uniform(0.3, 1, 3)
            picture = Image.fromarray(tinted.astype(np.uint8))
            picture.save(folder / f"{place:06}.jpg", quality=QUALITY)
    return dataset.name


def plain(root: Path) -> None:
    """Open, decode and stack."""
    images = []
    for path in sorted(root.rglob("*.jpg")):
        with Image.open(path) as image:
            images.append(np.asarray(image.convert("RGB")))
    np.stack(images)


def seconds(what: str, root: Path, cache: Path) -> float:
    """Return how long one way takes, in this process."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    if what == PLAIN:
        plain(root)
    else:
        _ = load_dataset(f"folder:{root}", Path("unused"), SIDE, cache).digest
    return time.perf_counter() - started


def fresh(what: str, root: Path, cache: Path) -> float:
    """Return how long it takes in a process of its own."""
    command = [sys.executable, __file__, "--time", what, str(root), str(cache)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(root: Path, cache: Path, rounds: int) -> dict[str, list[float]]:
    """Return seconds of every round, all ways in turn."""
    found: dict[str, list[float]] = {}
    time.sleep(3)  # files that have just been written are not trusted by their times
    for _ in range(rounds):
        for file in (cache / "images").glob("*"):
            file.unlink()
        for what in (PLAIN, FIRST, AGAIN, TOUCHED):
            if what == TOUCHED:
                for path in root.rglob("*.jpg"):
                    os.utime(path)
            found.setdefault(what, []).append(fresh(what, root, cache))
            print(f"{what}: {found[what][-1]:.2f} s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("HARNESS_DATA", "data"))
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write all numbers as JSON")
    parser.add_argument("--time", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.time:
        print(seconds(options.time[0], *map(Path, options.time[1:])))
        return
    with tempfile.TemporaryDirectory() as scratch:
        root, cache = Path(scratch) / "pictures", Path(scratch) / "cache"
        shown = write_folder(root, Path(options.data_dir), options.images)
        found = measure(root, cache, options.rounds)
    print(f"\n{options.images:,} JPEGs of {SIDE}x{SIDE} ({shown})\n")
    print("| | median, s | plain loop / it |\n|---|---|---|")
    for what, times in found.items():
        ratio = np.median(np.array(found[PLAIN]) / times)
        print(f"| {what} | {np.median(times):.2f} | {ratio:.2f} |")
    if options.out:
        facts = {"hardware": hardware(torch.device("cpu")), "versions": versions()}
        facts |= {"images": options.images, "side": SIDE, "data": shown, "seconds": found}
        options.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

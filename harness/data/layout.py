"""Folders of images: which files there are, and what their places say of split and class.

`train`, `validation` and `test` at the top are the published split, in the usual spellings; the
folders below, or those at the top where there is no split, are classes. What could be read in two
ways is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.data.dataset import Split
from harness.data.split import divide
from harness.errors import HarnessError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
SPELLINGS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "eval": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "tst": "test",
}
SUFFIX = re.compile(r"[ _-]?(?:set|images|data)$")  # as in training_set; says nothing of the split
HELD_OUT = 6  # one image in so many is held out for each part that was not published
LEAST = 2  # images of a part
DOMAINS = re.compile(r"(?:train|val|test)[ _-]?[ab]", re.IGNORECASE)  # as CycleGAN's data have them
LIKE_SPLITS = re.compile(r"train|trn|val|eval|dev|test|tst", re.IGNORECASE)
NUM_NAMED = 3  # classes that a line names


class File(NamedTuple):
    """An image's file.

    Attributes:
        parts: Its path below the folder.
        stamp: Size, times of the last change of content and of anything in ns, and inode: another
            content has another stamp, but for changes within one tick of the file system's clock.
    """

    parts: tuple[str, ...]
    stamp: tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the places of a folder's images say.

    Attributes:
        files: Those of each part.
        classes: Their names in order; none of data without classes.
        labels: Indices of the files' classes, part by part; None without classes.
        summary: One line that says all this.
    """

    files: dict[Split, list[File]]
    classes: tuple[str, ...]
    labels: dict[Split, list[int]] | None
    summary: str


def find_images(root: Path) -> list[File]:
    """Return all image files below a folder, links followed, sorted by their paths' parts.

    Names that start with a dot, and `__MACOSX`, are passed over.

    Raises:
        HarnessError: There is no such folder, or a file is no more than a broken link.
    """
    if not root.is_dir():
        raise HarnessError(f"folder {root}: there is no such folder")
    found: list[File] = []
    _search(root, (), frozenset(), found)
    return sorted(found)


def _search(folder: Path, parts: tuple[str, ...], above: frozenset[str], found: list[File]) -> None:
    place = os.path.realpath(folder)
    if place in above:  # a link that leads back up
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if _is_hidden(name):
                continue
            if entry.is_dir():
                _search(folder / name, (*parts, name), above | {place}, found)
            elif name[name.rfind(".") :].lower() in IMAGE_SUFFIXES:
                try:
                    stat = entry.stat()
                except OSError as error:
                    raise HarnessError(f"{entry.path} is not a readable image") from error
                stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
                found.append(File((*parts, name), stamp))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def recognise(root: Path, files: Sequence[File]) -> Layout:
    """Return the split and the classes that a folder's images have by their places.

    Raises:
        HarnessError: There are too few images, or their places can be read in two ways.
    """
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    folders = [name for name in folders if not _is_hidden(name)]
    by_folder: dict[str, list[File]] = {name: [] for name in folders}
    loose = [file for file in files if len(file.parts) == 1]
    for file in files:
        if len(file.parts) > 1:
            by_folder[file.parts[0]].append(file)
    if any(map(_split_of, folders)):
        return _published(root, by_folder, loose)
    return _undivided(root, files, by_folder)


def _split_of(name: str) -> Split | None:
    """Return the part that a folder's name says it holds, in any of its spellings."""
    return SPELLINGS.get(SUFFIX.sub("", name.casefold()))


def _refusal(root: Path, problem: str) -> HarnessError:
    return HarnessError(f"dataset 'folder:{root}': {problem}")


def _listed(names: Sequence[str], most: int = NUM_NAMED) -> str:
    return ", ".join([*names[:most], "…"] if len(names) > most else names)


def _with_slash(names: Sequence[str]) -> str:
    return _listed([f"{name}/" for name in names])


def _published(root: Path, by_folder: dict[str, list[File]], loose: Sequence[File]) -> Layout:
    """Return the layout of a folder with a published split."""
    places = _split_folders(root, by_folder, loose)
    files = {split: by_folder[name] for split, name in places.items()}
    classes = {split: _classes(root, f"{name}/", files[split], 1) for split, name in places.items()}
    folders = {split: _folders(own, 1) for split, own in files.items()}
    for split, name in places.items():
        if any(classes.values()) and folders[split] != folders["train"]:
            own, other = set(folders[split]), set(folders["train"])
            missing, more = sorted(other - own), sorted(own - other)
            raise _refusal(
                root,
                f"{name}/ has other classes than {places['train']}/: it "
                + " and ".join(
                    [f"lacks {_listed(missing)}"] * bool(missing)
                    + [f"has {_listed(more)} besides"] * bool(more)
                )
                + "; all parts need the same class folders, or none any",
            )
    held_out = ""
    if "validation" not in files:
        whole = files["train"]
        size = len(whole) // HELD_OUT
        kept, held = divide([len(whole) - size, size])
        files["train"] = [whole[place] for place in kept.tolist()]
        files["validation"] = [whole[place] for place in held.tolist()]
        held_out = f" (held out of {places['train']}/)"
    if few := [each for each in files if len(files[each]) < LEAST]:
        raise _refusal(
            root, f"the {few[0]} part has {len(files[few[0]])} images; at least {LEAST} are needed"
        )
    return _layout(root, files, classes["train"], 1, held_out, "published split")


def _split_folders(
    root: Path, by_folder: dict[str, list[File]], loose: Sequence[File]
) -> dict[Split, str]:
    """Return the folders of a published split; raises HarnessError for what is ambiguous."""
    places: dict[Split, str] = {}
    for name in by_folder:
        if (split := _split_of(name)) is not None:
            if split in places:
                raise _refusal(root, f"has both {places[split]}/ and {name}/; keep one of them")
            places[split] = name
    named = _with_slash(list(places.values()))
    others = [name for name in by_folder if name not in places.values() and by_folder[name]]
    if others:
        raise _refusal(
            root,
            f"has {named} beside {_with_slash(others)}: a published split has train/, test/ and "
            "perhaps validation/ alone, and classes need other names",
        )
    if loose:
        raise _refusal(
            root, f"{len(loose)} images, such as {loose[0].parts[0]}, lie beside {named}; move them"
        )
    if "train" not in places:
        raise _refusal(
            root,
            f"has {named} but no train/; a published split has train/ and test/, and classes need "
            "other names",
        )
    if "test" not in places:
        way = f"rename {places['validation']}/ to test/" if len(places) > 1 else "add one"
        raise _refusal(
            root,
            f"has {named} but no test/, on whose images arms are compared: {way}, or name "
            f"folder:{root / places['train']} for a split drawn at random",
        )
    if empty := [name for name in places.values() if not by_folder[name]]:
        raise _refusal(root, f"{empty[0]}/ has no images")
    return places


def _undivided(root: Path, files: Sequence[File], by_folder: dict[str, list[File]]) -> Layout:
    """Return the layout of a folder whose split is drawn at random."""
    _check_undivided(root, by_folder)
    if len(files) < LEAST * HELD_OUT:
        raise _refusal(
            root,
            f"has {len(files)} images; at least {LEAST * HELD_OUT} are needed for its training, "
            "validation and test parts",
        )
    classes = _classes(root, "", files, 0)
    size = len(files) // HELD_OUT
    places = divide([len(files) - 2 * size, size, size])
    train, validation, test = ([files[at] for at in part.tolist()] for part in places)
    parts: dict[Split, list[File]] = {"train": train, "validation": validation, "test": test}
    return _layout(root, parts, classes, 0, "", "split drawn at random")


def _check_undivided(root: Path, by_folder: dict[str, list[File]]) -> None:
    """Raise HarnessError where a published split seems to lie elsewhere, or a class is empty."""
    domains = [name for name in by_folder if DOMAINS.fullmatch(name)]
    if len(domains) > 1:
        raise _refusal(
            root,
            f"{_with_slash(domains)} look like two domains: give each a folder of its own with "
            "train/ and test/, and name them as pairs:folder:A|folder:B",
        )
    filled = [name for name, own in by_folder.items() if own]
    if len(filled) > 1 and all(map(LIKE_SPLITS.match, filled)):
        raise _refusal(
            root,
            f"{_with_slash(filled)} look like the parts of a published split, whose "
            "folders are named train/, test/ and perhaps validation/ (or e.g. train_set/, "
            "test_images/, val_data/); rename them so, and classes otherwise",
        )
    for name, own in by_folder.items():
        splits = {_split_of(each) for each in {f.parts[1] for f in own if len(f.parts) > 2}}
        if "test" in splits and "train" in splits:
            way = f"name folder:{root / name}" if len(by_folder) == 1 else "put these at the top"
            raise _refusal(root, f"train/ and test/ lie in {name}/; {way}")
        if not own and not any(os.scandir(root / name)):
            raise _refusal(root, f"{name}/ is empty; remove it, or put images of its class there")


def _classes(root: Path, place: str, files: Sequence[File], depth: int) -> tuple[str, ...]:
    """Return the names of folders at a depth; () of one folder and of images without any."""
    loose = [file for file in files if len(file.parts) == depth + 1]
    names = _folders(files, depth)
    if loose and names:
        raise _refusal(
            root,
            f"images lie in {place or 'the folder'} itself ({len(loose)}, such as "
            f"{loose[0].parts[-1]}) and in {_with_slash(names)}: put all into class folders, or "
            "none",
        )
    return tuple(names) if len(names) > 1 else ()


def _folders(files: Sequence[File], depth: int) -> list[str]:
    return sorted({file.parts[depth] for file in files if len(file.parts) > depth + 1})


def _layout(
    root: Path,
    files: dict[Split, list[File]],
    classes: tuple[str, ...],
    depth: int,
    held_out: str,
    rule: str,
) -> Layout:
    index = {name: place for place, name in enumerate(classes)}
    labels = None
    if classes:
        labels = {part: [index[f.parts[depth]] for f in own] for part, own in files.items()}
    train, validation, test = (len(files[s]) for s in ("train", "validation", "test"))
    what = f"{len(classes)} classes ({_listed(classes)})" if classes else "no classes"
    return Layout(
        files=files,
        classes=classes,
        labels=labels,
        summary=(
            f"folder:{root}: {rule}: {train:,} training, {validation:,} validation{held_out} and "
            f"{test:,} test images, {what}"
        ),
    )

"""Rulers: what images are measured with, as safetensors files that say how they were made.

A ruler is a small classifier. By recipe v1 its embedding is the features; by recipe v2 they are
what all its depths see, whitened, so that what the classes do not need is measured too. A second
ruler (see `judge`) is made as by v2, of a classifier of another shape. Two datasets have rulers
that ship with the package (docs/rulers.md); any other labelled one gets its own, trained once and
kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import relu

from harness.data import Dataset, Part
from harness.errors import HarnessError
from harness.evaluate.classifier import Classifier, SmallCnn, accuracy, train_classifier
from harness.evaluate.features import Extractor
from harness.evaluate.lenet import LeNet
from harness.files import write_once
from harness.randomness import seeded

FOLDER = Path(__file__).with_name("rulers")
SEED = 0
RECIPE = "v2"  # of new rulers; v1 stays for what was measured with it
JUDGE_RECIPE = "judge_v1"
RECIPES: dict[str, type[Classifier]] = {
    "v1": SmallCnn,
    "v2": SmallCnn,
    JUDGE_RECIPE: LeNet,
}
"""Version -> the classifier inside."""
SEEDS = {JUDGE_RECIPE: 1}  # of its training, where that is another
LEAST_VARIANCE = 1e-8  # of the largest

# A shipped ruler is versioned and never overwritten: every published score depends on its bytes.
SHIPPED = {
    "digits_cnn_v1": "2f60d0f4fbda13721e194af07bb63aa3de47d61366b04e5f4b41e8db2310674d",
    "digits_cnn_v2": "170bf7e9f5c76986de571961c9617009268943b3e989ed985413adb7f4d0458a",
    "digits_judge_v1": "4a8b3f0a61792456dd5ae21124e67da350916324f262d503f906f94129d6bea3",
    "mnist_cnn_v1": "3d5fc70d9b3667c37334be241e9897f7c1582b2a4a230d8b22cd6f8fca898a86",
    "mnist_cnn_v2": "85bc805ff3437a6a547a1ecd3ec16de50632e62181d440f71994afe6286aa298",
    "mnist_judge_v1": "bc10054b7020a1d5dc81e9c1ebc7a361af5a81a41df8f97c4ebbf0f56d86f899",
}


class Ruler(nn.Module):
    """A classifier and what its features are.

    Args:
        classifier: In eval mode.
        num_features: d.
        recipe: One of `RECIPES`.
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, classifier: Classifier, num_features: int, recipe: str) -> None:
        super().__init__()
        self.classifier = classifier
        self.recipe = recipe
        if recipe != "v1":
            channels, height, width = classifier.sample_shape
            blank = torch.zeros(1, channels, height, width, dtype=torch.uint8)
            with torch.no_grad():
                num_seen = classifier.eval().depths(blank)[0].shape[1]
            self.register_buffer("mean", torch.zeros(num_seen))
            self.register_buffer("projection", torch.zeros(num_seen, num_features))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, d) and logits (N, K) of uint8 images (N, C, H, W)."""
        if self.recipe == "v1":
            assert isinstance(self.classifier, SmallCnn)
            features = self.classifier.features(images)
            logits: Tensor = self.classifier.classify(relu(features))
            return features, logits
        seen, logits = self.classifier.depths(images)
        return (seen - self.mean) @ self.projection, logits

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Project on the leading principal components of images' features, each of variance 1."""
        seen = torch.cat([self.classifier.depths(chunk)[0] for chunk in images.split(500)]).double()
        covariance, mean = torch.cov(seen.T), seen.mean(dim=0)
        variances, directions = torch.linalg.eigh(covariance)  # in ascending order
        num_features = self.projection.shape[1]
        # Directions in which the images do not vary are left out: dividing by infinity gives 0.
        variances[variances < LEAST_VARIANCE * variances[-1]] = math.inf
        leading = directions[:, -num_features:] / variances[-num_features:].sqrt()
        # An eigenvector's sign is arbitrary: the largest entry of each is made positive.
        signs = leading.gather(0, leading.abs().argmax(dim=0, keepdim=True)).sign()
        self.mean.copy_(mean)
        self.projection.copy_((leading * signs).flip(1))


@dataclass(frozen=True, kw_only=True)
class RulerFacts:
    """What a ruler file says about itself, in its safetensors header.

    Attributes:
        dataset: Name of the dataset whose training part it was trained on.
        sample_shape: (C, H, W) it measures.
        num_features: Size of its embedding.
        num_classes: Classes it tells apart.
        recipe: Version of the training recipe.
        train_digest: SHA-256 of the training images and labels, 16 hex digits.
        validation_accuracy: Share of the validation part it gets right.
        test_accuracy: The same on the test part; neither part was used in training.
    """

    dataset: str
    sample_shape: tuple[int, int, int]
    num_features: int
    num_classes: int
    recipe: str
    train_digest: str
    validation_accuracy: float
    test_accuracy: float


def make_ruler(dataset: Dataset, num_features: int, recipe: str) -> tuple[Ruler, RulerFacts]:
    """Train a ruler on the training part of a labelled dataset and measure its accuracy."""
    seed = SEEDS.get(recipe, SEED)
    noun = "a second ruler" if recipe == JUDGE_RECIPE else "a ruler"
    network = train_classifier(dataset.train, num_features, seed, RECIPES[recipe], noun)
    ruler = Ruler(network, num_features, recipe)
    if recipe != "v1":
        ruler.whiten(dataset.train.images)
    facts = RulerFacts(
        dataset=key_safe(dataset.name),
        sample_shape=network.sample_shape,
        num_features=num_features,
        num_classes=network.num_classes,
        recipe=recipe,
        train_digest=train_digest(dataset.train),
        validation_accuracy=accuracy(network, dataset.validation),
        test_accuracy=accuracy(network, dataset.test),
    )
    return ruler, facts


def dump_ruler(ruler: Ruler, facts: RulerFacts) -> bytes:
    """Return the contents of a ruler file; equal rulers give equal bytes."""
    # One sorted JSON string, for safetensors writes several header entries in random order.
    header = {"ruler": json.dumps(asdict(facts), sort_keys=True)}
    weights = ruler.classifier.state_dict() if facts.recipe == "v1" else ruler.state_dict()
    return safetensors.torch.save(weights, header)


def load_ruler(path: Path) -> tuple[Ruler, RulerFacts, str]:
    """Read a ruler file.

    Returns:
        The ruler in eval mode, its facts, and the file's SHA-256.

    Raises:
        OSError, SafetensorError, ValueError, RuntimeError: The file is missing or no ruler.
    """
    contents = path.read_bytes()
    weights = safetensors.torch.load(contents)
    # The format: eight bytes of header length, then the header as JSON.
    header = json.loads(contents[8 : 8 + int.from_bytes(contents[:8], "little")])
    try:
        said = json.loads(header["__metadata__"]["ruler"])
        facts = RulerFacts(**{**said, "sample_shape": tuple(said["sample_shape"])})
        kind = RECIPES[facts.recipe]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a ruler file") from error
    with seeded(SEED):  # a network is initialised before it is loaded
        network = kind(
            facts.sample_shape, num_features=facts.num_features, num_classes=facts.num_classes
        )
    ruler = Ruler(network, facts.num_features, facts.recipe)
    (network if facts.recipe == "v1" else ruler).load_state_dict(weights)
    return ruler.eval(), facts, hashlib.sha256(contents).hexdigest()


def shipped_ruler(name: str, dataset: Dataset, device: torch.device) -> Extractor:
    """Return a ruler that ships with the package.

    Raises:
        HarnessError: Its file is damaged, or it measures images of another shape than the data's.
    """
    try:
        ruler, facts, sha256 = load_ruler(FOLDER / f"{name}.safetensors")
    except (OSError, SafetensorError, ValueError, RuntimeError):
        sha256 = "unreadable"
    if sha256 != SHIPPED[name]:
        raise HarnessError(
            f"the shipped ruler {name!r} is damaged (sha256 {sha256[:16]}, expected "
            f"{SHIPPED[name][:16]}): install the package again"
        )
    if facts.sample_shape != dataset.sample_shape:
        raise HarnessError(
            f"evaluate.extractor = {name!r} measures {_by(facts.sample_shape)} images, dataset "
            f"{dataset.name!r} has {_by(dataset.sample_shape)}; omit it for the dataset's own, or "
            "set 'inception'"
        )
    return _extractor(name, ruler, facts, sha256, device)


def ruler_name(dataset: str, recipe: str, version: str | None = None) -> str:
    """Return what a ruler is called, e.g. `mnist_cnn_v2` or `mnist_judge_v1`.

    Args:
        dataset: As a metric key may hold it.
        recipe: One of `RECIPES`.
        version: Of one that does not ship; None: the recipe's.
    """
    kind, _, number = recipe.rpartition("_")
    return f"{dataset}_{kind or 'cnn'}_{version or number}"


def own_rulers(dataset: Dataset) -> dict[str, str]:
    """Return the names of the rulers that a labelled dataset can be given, with their recipes."""
    if dataset.num_classes < 2:
        return {}
    names = {}
    for recipe in RECIPES:
        made = f"{dataset.digest}/{recipe}/{_num_features(dataset)}/{SEEDS.get(recipe, SEED)}"
        hash8 = hashlib.sha256(made.encode()).hexdigest()[:8]
        names[ruler_name(key_safe(dataset.name), recipe, hash8)] = recipe
    return names


def trained_ruler(
    dataset: Dataset, cache_dir: Path, device: torch.device, recipe: str = RECIPE
) -> Extractor:
    """Return the ruler of any labelled dataset: trained once, then read from the cache.

    The first file wins: processes that train at the same time all go on with the same weights.

    Raises:
        HarnessError: The data carry no labels.
    """
    if dataset.num_classes < 2:
        raise HarnessError(
            f"evaluate.extractor is not set and dataset {dataset.name!r} has no labels to train a "
            'ruler on: set evaluate.extractor = "inception"'
        )
    name = next(name for name, own in own_rulers(dataset).items() if own == recipe)
    path = cache_dir / f"{name}.safetensors"
    ruler, facts, sha256 = _read_or_make(
        path, lambda: make_ruler(dataset, _num_features(dataset), recipe)
    )
    return _extractor(name, ruler, facts, sha256, device)


def _num_features(dataset: Dataset) -> int:
    """Return d: FID's bias grows with d / n, so few where the held-out parts are small."""
    return 64 if min(len(dataset.validation), len(dataset.test)) >= 2000 else 32


def train_digest(part: Part) -> str:
    """Return the first 16 hex digits of a SHA-256 over a part's images and labels."""
    digest = hashlib.sha256(part.images.contiguous().numpy().data)
    if part.labels is not None:
        digest.update(part.labels.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def key_safe(dataset_name: str) -> str:
    """Return a dataset's name as a metric key may hold it: `folder:/x/cats` -> `folder_cats`."""
    kind, colon, path = dataset_name.partition(":")
    name = f"{kind}_{Path(path).name}" if colon else kind
    return re.sub(r"[^A-Za-z0-9]+", "_", name)[:40].strip("_")


def _read_or_make(
    path: Path, make: Callable[[], tuple[Ruler, RulerFacts]]
) -> tuple[Ruler, RulerFacts, str]:
    try:
        return load_ruler(path)
    except FileNotFoundError:
        pass
    except (OSError, SafetensorError, ValueError, RuntimeError):
        path.unlink(missing_ok=True)
    write_once(path, dump_ruler(*make()))
    return load_ruler(path)


def _extractor(
    name: str, ruler: Ruler, facts: RulerFacts, sha256: str, device: torch.device
) -> Extractor:
    return Extractor(
        name=name,
        sha256=sha256,
        num_features=facts.num_features,
        network=ruler,
        extract=ruler,
        device=device,
        classes=True,
        accuracy=f"{facts.validation_accuracy:.4f} validation, {facts.test_accuracy:.4f} test",
    )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)

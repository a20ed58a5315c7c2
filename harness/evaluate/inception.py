"""InceptionV3 with the weights of Heusel et al. 2017, for data without labels."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.evaluate.features import Extractor
from harness.randomness import seeded

# torch-fidelity's file name carries the first 8 hex digits of its SHA-256.
OFFICIAL_HASH = "6726825d"


def inception(weights: Path | None, device: torch.device) -> Extractor:
    """Return torch-fidelity's InceptionV3 through torchmetrics: uint8, 2,048 features.

    Args:
        weights: A file with its state dict; None downloads the official one to torch.hub's folder.
        device: Where features are computed.

    Raises:
        HarnessError: The weights are neither at hand nor downloadable, or no InceptionV3.
    """
    path = _official_file() if weights is None else weights
    try:
        contents = path.read_bytes()
        # torch-fidelity unpickles whatever it is given; refuse here what is more than tensors.
        torch.load(io.BytesIO(contents), map_location="cpu", weights_only=True)
        network = _network(contents)
    except Exception as error:  # unpickling a foreign file may raise anything
        raise HarnessError(
            f"evaluate.extractor_weights: {path} is not a readable state dict of torch-fidelity's "
            f"InceptionV3 ({type(error).__name__}); omit the key to use the official weights"
        ) from error
    sha256 = hashlib.sha256(contents).hexdigest()
    # Foreign weights are another protocol, so they go under another name.
    official = sha256.startswith(OFFICIAL_HASH)
    return Extractor(
        name="inception" if official else f"inception_{sha256[:8]}",
        sha256=sha256,
        num_features=2048,
        network=network,
        extract=lambda images: (network(_three_channels(images)), None),
        device=device,
        classes=False,
        chunk_size=50,
    )


def _network(contents: bytes) -> Any:
    from torchmetrics.image.fid import NoTrainInceptionV3

    # Its layers are initialised from the global random state before the weights are loaded. The
    # "path" goes to torch.load, so the very bytes that were checked can be handed over.
    path: Any = io.BytesIO(contents)
    with seeded(0):
        return NoTrainInceptionV3(
            name="inception-v3-compat",
            features_list=["2048"],
            feature_extractor_weights_path=path,
        )


def _three_channels(images: Tensor) -> Tensor:
    """Repeat grey images to three channels."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _official_file() -> Path:
    """Return the official weights' path, downloading them on first use."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    url: str = URL_INCEPTION_V3
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(
                url, str(path), hash_prefix=OFFICIAL_HASH, progress=False
            )
        except (OSError, RuntimeError) as error:
            raise HarnessError(
                f"evaluate.extractor = 'inception': {url} could not be downloaded "
                f"({error}); give its file by evaluate.extractor_weights, or put it at {path}"
            ) from error
    return path

"""Starting from the weights of an exported system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from harness.errors import HarnessError
from harness.systems.generator import WeightsFile, find_network

if TYPE_CHECKING:
    from harness.systems.gan.config import GANConfig

STARTS = {"g_from": None, "d_from": "discriminator"}
"""Setting -> which network of the exported system; None: the one that is sampled."""


def file_of(config: GANConfig, key: str) -> WeightsFile:
    """Return the weights that a setting names; raises HarnessError where there are none."""
    folder = getattr(config, key)
    try:
        return find_network(Path(folder), STARTS[key])
    except HarnessError as error:
        raise HarnessError(f"{key} = {folder!r}: {error}") from None


def start_from(config: GANConfig, key: str, network: nn.Module) -> None:
    """Load the weights that a setting names into a network; does nothing where it is not set.

    Raises:
        HarnessError: They are missing, damaged or of another network.
    """
    folder = getattr(config, key)
    if folder is None:
        return
    file = file_of(config, key)
    try:
        network.load_state_dict(file.read())
    except HarnessError as error:
        raise HarnessError(f"{key} = {folder!r}: {error}") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise HarnessError(f"{key} = {folder!r} is of another network: {reason}") from None

"""The settings of two translators and two judges."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, create_model

from harness.config import Count, NonNegative, Positive
from harness.data import Facts
from harness.errors import HarnessError
from harness.systems.config import TrainConfig
from harness.systems.optimizers import OptimizerSettings
from harness.systems.pairs import prefixed

SMALLEST_SIDE = 8  # of which two halvings leave maps that can be mirrored
SIDE_MULTIPLE = 4

_Learning: Any = create_model(
    "_Learning",
    __base__=TrainConfig,
    **prefixed(OptimizerSettings, "", "All networks", schedule="linear_late"),
)


class CycleGANConfig(_Learning):  # type: ignore[misc]
    """Every setting of a pair of translators between two domains."""

    units: ClassVar[tuple[str, ...]] = ("d_steps", "g_steps")
    translates: ClassVar[bool] = True

    system: str = "cyclegan"
    """What is trained, and with it which other settings there are."""
    dataset: str = "pairs:mnist|inverted:mnist"
    """`pairs:A|B`: images of A are translated to B, and back."""
    batch_size: Count = 16
    """Images of either domain per batch."""
    g_width: Count = 32
    """Both translators: channels after the first layer."""
    downsamplings: Annotated[int, Field(ge=1, le=2)] = 2
    """Both translators: how often the side is halved before the residual blocks."""
    residual_blocks: Annotated[int, Field(ge=0)] = 3
    """Both translators: residual blocks at the smallest side."""
    d_width: Count = 32
    """Both discriminators: channels after the first layer."""
    d_depth: Annotated[int, Field(ge=1, le=3)] = 2
    """Both discriminators: halvings of the side; patches have 8, 18 or 38 pixels a side."""
    g_lr: Positive = 2e-4
    """Learning rate of both translators."""
    d_lr: Positive = 2e-4
    """Learning rate of both discriminators."""
    cycle_weight: NonNegative = 10.0
    """Weight of the mean absolute difference of images and what comes back, in both directions."""
    identity_weight: NonNegative = 0.0
    """Share of the cycle's weight for leaving images of the target domain as they are (0.5)."""
    pool_size: Annotated[int, Field(ge=0)] = 50
    """Earlier translations kept for each discriminator, which sees one in place of every second."""

    def check(self, facts: Facts) -> None:
        """Raise HarnessError for sides that cannot be halved, or images that cannot be left."""
        super().check(facts)
        channels, height, width = facts.sample_shape
        if height % SIDE_MULTIPLE or width % SIDE_MULTIPLE or min(height, width) < SMALLEST_SIDE:
            raise HarnessError(
                f"image_size: sides must be multiples of {SIDE_MULTIPLE} from {SMALLEST_SIDE}, "
                f"{self.dataset} has {height}x{width}"
            )
        if 2 ** (self.d_depth + 1) > min(height, width):
            raise HarnessError(
                f"d_depth = {self.d_depth}: {self.dataset} has {height}x{width} pixels, of which "
                "so many halvings leave one"
            )
        assert facts.source_shape is not None
        if self.identity_weight and facts.source_shape[0] != channels:
            raise HarnessError(
                f"identity_weight = {self.identity_weight}: {self.dataset} has images of "
                f"{facts.source_shape[0]} and of {channels} channels, so that none can be left as "
                "it is; set it to 0"
            )

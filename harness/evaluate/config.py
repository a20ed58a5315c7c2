"""The `[evaluate]` table of a study file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from harness.config import Config, Count


class EvaluateConfig(Config):
    """How every run of a study is scored: one protocol for all arms."""

    samples: Annotated[int, Field(ge=16)] | None = None
    """Generated and real samples per score; omitted: what every part has, at most 10,000."""
    times: Count = 8
    """Evaluations per run, each 1.75 times as far as the one before, the last at its end."""
    extractor: str | None = None
    """Feature extractor; omitted: the dataset's own classifier. Or `inception`."""
    extractor_back: str | None = None
    """The same for translations back to the domain that was translated."""
    extractor_weights: Annotated[Path, Field(strict=False)] | None = None
    """File with Inception's weights; omitted: downloaded on first use."""
    objective: str = "fid"
    """What studies rank by; `harness list metrics` has the others."""
    kid_subsets: Count = 20
    """Subsets per KID, each of min(1000, samples / 2)."""

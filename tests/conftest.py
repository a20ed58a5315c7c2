"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from harness.data import load_dataset
from harness.errors import HarnessError

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests run side by side; one thread each is both quicker and reproducible."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """Return a folder with the real MNIST files, or skip."""
    data_dir = Path(os.environ.get("HARNESS_DATA", "data"))
    try:
        load_dataset("mnist", data_dir)
    except HarnessError as error:
        pytest.skip(str(error))
    return data_dir


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))

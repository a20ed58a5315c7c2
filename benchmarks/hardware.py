"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision


def hardware(device: torch.device) -> dict[str, Any]:
    """Return names of processor and GPU, and what torch makes of the processor."""
    found = {"cpu": platform.processor() or platform.machine(), "num_cpus": os.cpu_count()}
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
        found["cpu"] = facts.get("model name", found["cpu"])
        found["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def versions() -> dict[str, str | None]:
    """Return versions of what does the work."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "libc": " ".join(platform.libc_ver()),
    }

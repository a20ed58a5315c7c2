"""What a record says of the machine."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.records.provenance import processor

DESCRIBED = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R): Processor
stepping\t: 8
power management:

processor\t: 1
model\t\t: 7
"""
UNITS = torch.backends.cpu.get_cpu_capability()


def test_a_processor_is_named_by_its_model(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(DESCRIBED)
    named = "Intel(R) Xeon(R): Processor, family 6 model 143 stepping 8"
    assert processor(file) == f"{named}, {UNITS}"


def test_elsewhere_it_is_named_as_python_does(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    unknown = processor(file)
    assert unknown.endswith(f", {UNITS}")
    assert len(unknown) > len(f", {UNITS}")
    for text in ("", "Processor : ARMv8\nno colon\n", "model name : X\n"):
        file.write_text(text)
        assert processor(file) == unknown

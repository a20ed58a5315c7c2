"""What is trained: each system owns its settings, networks and training step.

To add one, write a file such as `vae.py` beside it; all that lie here are registered.
"""

from __future__ import annotations

from harness.registry import import_all
from harness.systems.config import Budget, TrainConfig
from harness.systems.generator import (
    GeneratorSpec,
    draw_inputs,
    example_inputs,
    generate,
    is_conditional,
    load_generator,
    load_network,
    save_generator,
)
from harness.systems.precision import Precision
from harness.systems.system import (
    SYSTEMS,
    Panel,
    System,
    as_recorded,
    known_settings,
    parse_config,
    system,
    system_of,
)

import_all(__name__)

__all__ = [
    "SYSTEMS",
    "Budget",
    "GeneratorSpec",
    "Panel",
    "Precision",
    "System",
    "TrainConfig",
    "as_recorded",
    "draw_inputs",
    "example_inputs",
    "generate",
    "is_conditional",
    "known_settings",
    "load_generator",
    "load_network",
    "parse_config",
    "save_generator",
    "system",
    "system_of",
]

"""How many floating-point operations an iteration takes, counted on a copy that is thrown away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from harness.data import Batches
from harness.randomness import Streams
from harness.run.bench import Bench
from harness.systems import TrainConfig


class ProductCounter(TorchDispatchMode):
    """Counts the matrix products and convolutions of a block, forward and backward.

    They are counted by the table of torch's `FlopCounterMode`: two operations per multiplication
    and addition, nothing else. That class itself cannot be used, for it follows modules by hooks
    that break where gradients are differentiated again.

    Attributes:
        total: Operations so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation of torch and count it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        count: Callable[..., int] | None = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **kwargs, out_val=result)
        return result


def flops_per_iteration(config: TrainConfig, bench: Bench) -> float | None:
    """Return operations per iteration, a mean over the period of what is done now and then only.

    A fresh copy of the system, with random streams of its own, is trained for its first period, so
    that the run itself notices nothing. What adapts later on is counted as it is there. Evaluation
    is not counted.

    Returns:
        None where such a copy cannot be trained; the run will say why.
    """
    try:
        system = bench.start(config)
        order = Streams(config.seed, ["order"], bench.device)["order"]
        batches = Batches(bench.part, config.batch_size, order)
        period = system.period(config)
        with ProductCounter() as counter:
            for _ in range(period):
                system.step(batches.take, 0.0)
    except Exception:
        return None
    return float(counter.total) / period

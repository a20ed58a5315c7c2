"""How much faster is the harness's training loop than the script that everyone writes?

All make the same updates of the same networks: one discriminator and one generator update per
iteration, with the non-saturating loss and Adam, the script in float32, the harness in float32 and
in bfloat16. Each has a process of its own, and they take turns, round by round. Beside the times
stand the operations of an update and what this machine's largest matrix products reach.

    python benchmarks/training_step.py --threads 2
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from hardware import hardware, versions
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from harness.data import Batch, Facts, Part, load_dataset, to_uint8
from harness.run.loop import MEASUREMENTS_PER_RUN, Measured, train
from harness.systems import Budget, Precision
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan import GAN, GANConfig

COMPARED = ("mlp", "dc")
SAMPLE_SHAPE = (1, 28, 28)
FACTS = Facts(sample_shape=SAMPLE_SHAPE)
RESULTS = Path(__file__).parent / "results"


def make_config(architecture: str, batch_size: int, steps: int) -> GANConfig:
    """Return a config whose loop yields one measurement every `steps` iterations."""
    return GANConfig.model_validate(
        {
            "architecture": architecture,
            "batch_size": batch_size,
            "loss": "non_saturating",
            "d_steps": 1,
            "budget": Budget(g_steps=steps * MEASUREMENTS_PER_RUN),
        }
    )


def load_images() -> tuple[Tensor, str]:
    """Return (N, 1, 28, 28) uint8 images and their name: MNIST if at hand, or smooth noise."""
    if data_dir := os.environ.get("HARNESS_DATA"):
        return load_dataset("mnist", Path(data_dir)).train.images, "MNIST"
    coarse = torch.randn(10_000, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    return to_uint8(interpolate(coarse, SAMPLE_SHAPE[1:], mode="bilinear")), "smooth noise"


# The script that everyone writes -----------------------------------------------------------------


class PilImages(torch.utils.data.Dataset[tuple[Any, int]]):
    """Hands out one image after the other as torchvision.datasets.MNIST does."""

    def __init__(self, images: Tensor) -> None:
        self.images = images[:, 0]
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index].numpy())), 0


def stock_layers(network: nn.Module) -> nn.Module:
    """Return the network with torch's own class in place of every variant of it; weights stay."""
    for module in network.modules():
        for stock in (nn.Conv2d, nn.ConvTranspose2d, nn.Flatten, nn.Tanh):
            if isinstance(module, stock):
                module.__class__ = stock
    return network


class PlainScript:
    """Two networks, two stock optimisers, two plain `backward()`s and two `item()`s per iteration.

    Args:
        config: The learning rates, sizes and so on that both sides share.
        generator: Trained in place.
        discriminator: Trained in place.
        device: Where to train.
    """

    def __init__(
        self,
        config: GANConfig,
        generator: nn.Module,
        discriminator: nn.Module,
        device: torch.device,
    ) -> None:
        self.config = config
        self.generator = stock_layers(generator).to(device)
        self.discriminator = stock_layers(discriminator).to(device)
        self.device = device
        betas = (config.adam_beta1, config.adam_beta2)
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), config.g_lr, betas)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), config.d_lr, betas)
        self.criterion = nn.BCEWithLogitsLoss()

    def latents(self) -> Tensor:
        return torch.randn(self.config.batch_size, self.config.latent_dim, device=self.device)

    def step(self, real_images: Tensor, d_latents: Tensor, g_latents: Tensor) -> list[float]:
        """Update D, then G; return their losses."""
        ones = torch.ones(len(real_images), 1, device=self.device)
        zeros = torch.zeros(len(real_images), 1, device=self.device)

        self.d_optimizer.zero_grad()
        fake_images = self.generator(d_latents).detach()
        d_loss = self.criterion(self.discriminator(real_images), ones)
        d_loss = d_loss + self.criterion(self.discriminator(fake_images), zeros)
        d_loss.backward()
        self.d_optimizer.step()

        self.g_optimizer.zero_grad()
        g_loss = self.criterion(self.discriminator(self.generator(g_latents)), ones)
        g_loss.backward()
        self.g_optimizer.step()
        return [d_loss.item(), g_loss.item()]

    def train(self, images: Tensor) -> Iterator[list[float]]:
        """Yield the losses after every iteration."""
        loader = DataLoader(
            PilImages(images), self.config.batch_size, shuffle=True, num_workers=0, drop_last=True
        )
        while True:
            for real_images, _ in loader:
                real = real_images.to(self.device)
                yield self.step(real, self.latents(), self.latents())


# The two sides: each turns a config into a function that runs one round ---------------------------

Round = Callable[[], None]


def plain_rounds(config: GANConfig, images: Tensor, device: torch.device, steps: int) -> Round:
    # Not through `GAN`, which also sets up the process's memory allocator.
    architecture = ARCHITECTURES[config.architecture]
    generator = architecture.generator(config.g_settings, config.latent_dim, SAMPLE_SHAPE)
    discriminator = architecture.discriminator(config.d_settings, SAMPLE_SHAPE)
    losses = PlainScript(config, generator, discriminator, device).train(images)

    def run() -> None:
        for _ in range(steps):
            next(losses)

    return run


def harness_rounds(
    precision: Precision, config: GANConfig, images: Tensor, device: torch.device, steps: int
) -> Round:
    part = Part(images=images, labels=None).to(device)
    events = train(GAN(config, FACTS, device, precision), part, milestones=1)

    def run() -> None:
        while not isinstance(next(events), Measured):
            pass

    return run


PLAIN = "plain script"
SIDES = {
    PLAIN: plain_rounds,
    "float32": functools.partial(harness_rounds, "float32"),
    "bfloat16": functools.partial(harness_rounds, "bfloat16"),
}


def serve(
    connection: Connection, side: str, config: GANConfig, device: str, threads: int, steps: int
) -> None:
    """Run one round per message and answer with its seconds; the worker process's main function."""
    torch.set_num_threads(threads)
    run = SIDES[side](config, load_images()[0], torch.device(device), steps)
    while connection.recv():
        started = time.perf_counter()
        run()
        connection.send(time.perf_counter() - started)


def measure(config: GANConfig, args: argparse.Namespace) -> dict[str, list[float]]:
    """Return each side's seconds per iteration, one figure per round, after a warm-up round."""
    spawn = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    workers = []
    for side in SIDES:
        connections[side], theirs = spawn.Pipe()
        workers.append(
            spawn.Process(
                target=serve,
                args=(theirs, side, config, args.device, args.threads, args.steps),
                daemon=True,
            )
        )
        workers[-1].start()
        theirs.close()  # so that a worker's death ends the wait for it
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for round_index in range(args.rounds + 1):
        # Every other round the other way round: neither side always follows the other.
        for side in list(SIDES)[:: 1 if round_index % 2 else -1]:
            connections[side].send(True)
            seconds[side].append(connections[side].recv() / args.steps)
    for connection, worker in zip(connections.values(), workers, strict=True):
        connection.send(False)
        worker.join()
    return {side: values[1:] for side, values in seconds.items()}


def check_same_updates(architecture: str, device: torch.device, num_steps: int = 5) -> float:
    """Return the largest difference between the two sides' weights after a few equal steps.

    In float64: some gradients are zero but for rounding (a bias before batch norm), and Adam scales
    them up to full steps. Rounding in float64 is far below Adam's epsilon.

    Raises:
        RuntimeError: The updates differ by more than rounding.
    """
    torch.set_default_dtype(torch.float64)
    try:
        config = make_config(architecture, batch_size=16, steps=1)
        system = GAN(config, FACTS, device)
        initial = copy.deepcopy(system.generator)
        plain = PlainScript(config, initial, copy.deepcopy(system.discriminator), device)
        start = [weight.detach().clone() for weight in initial.parameters()]
        latents = torch.Generator(device)
        latents.set_state(system.random["latents"].get_state())
        shape = (2, config.batch_size, config.latent_dim)
        for index in range(num_steps):
            noise = torch.rand(
                1, config.batch_size, *SAMPLE_SHAPE, generator=torch.Generator().manual_seed(index)
            ).to(device)
            batch = Batch(images=2 * noise[0] - 1, labels=None)
            d_latents = torch.randn(shape[1:], generator=latents, device=device)
            g_latents = torch.randn(shape[1:], generator=latents, device=device)
            system.step(lambda batch=batch: batch, 0.0)
            plain.step(batch.images, d_latents, g_latents)
    finally:
        torch.set_default_dtype(torch.float32)
    pairs = [
        *zip(system.generator.parameters(), plain.generator.parameters(), strict=True),
        *zip(system.discriminator.parameters(), plain.discriminator.parameters(), strict=True),
    ]
    difference = max(float((ours - theirs).detach().abs().max()) for ours, theirs in pairs)
    moved = max(
        float((new - old).detach().abs().max())
        for new, old in zip(plain.generator.parameters(), start, strict=True)
    )
    if not difference < 1e-6 * moved:
        raise RuntimeError(
            f"{architecture}: the two sides' weights differ by {difference:.1e} after {num_steps} "
            f"steps, in which they moved by {moved:.1e}: they do not make the same updates"
        )
    return difference


def summarise(seconds: dict[str, list[float]], batch_size: int) -> dict[str, Any]:
    """Return medians and rates; for the harness ratios too, with the rounds' own quartiles."""
    summary = {}
    for side, values in seconds.items():
        ratios = [plain / ours for plain, ours in zip(seconds[PLAIN], values, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        summary[side] = {
            "seconds_per_iteration": statistics.median(values),
            "images_per_second": batch_size / statistics.median(values),
            "ratio": statistics.median(seconds[PLAIN]) / statistics.median(values),
            "ratio_of_minima": min(seconds[PLAIN]) / min(values),
            "round_ratio_quartiles": [low, high],
            "rounds": values,
        }
    return summary


# What an update needs, and what the machine can do ------------------------------------------------


def operations(config: GANConfig) -> float:
    """Return floating-point operations of an iteration's matrix products and convolutions."""
    images = torch.zeros(config.batch_size, *SAMPLE_SHAPE)
    system = GAN(config, FACTS, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        system.step(lambda: Batch(images=images, labels=None), 0.0)
    return float(counter.get_total_flops())


def optimiser_bytes(config: GANConfig) -> int:
    """Return bytes that Adam moves: weight, gradient and both moments read, all but one written."""
    sizes = GAN.num_parameters(config, FACTS)
    return 7 * 4 * sum(sizes.values())


def peak(dtype: torch.dtype, device: torch.device) -> float:
    """Return operations per second of a large matrix product, the best of many."""
    side = 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        c = a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    del c
    return float(2 * side**3 / min(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--architectures", nargs="+", default=COMPARED, choices=COMPARED)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=30, help="iterations per round")
    parser.add_argument("--rounds", type=int, default=12, help="rounds per side, 2 to 98")
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    if not 2 <= args.rounds < MEASUREMENTS_PER_RUN - 1:
        parser.error(f"--rounds must be 2 to {MEASUREMENTS_PER_RUN - 2}")
    device = torch.device(args.device)
    now = datetime.now(UTC)

    torch.set_num_threads(args.threads)
    console = Console()
    data_name = load_images()[1]
    peaks = {side: peak(getattr(torch, side), device) for side in SIDES if side != PLAIN}
    table = Table(title=f"{device}, {args.threads} threads, batch {args.batch_size}, {data_name}")
    headings = ("architecture", "side", "ms / iteration", "images / s", "ratio", "of the peak")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in headings[:2] else "right")
    report: dict[str, Any] = {
        "date": now.isoformat(timespec="seconds"),
        "arguments": vars(args),
        "data": data_name,
        "hardware": hardware(device),
        "versions": versions(),
        "peak_operations_per_second": peaks,
        "results": {},
    }
    for architecture in args.architectures:
        difference = check_same_updates(architecture, device)
        console.print(f"{architecture}: same updates (weights differ by {difference:.0e} at most)")
        config = make_config(architecture, args.batch_size, args.steps)
        sides = summarise(measure(config, args), args.batch_size)
        needed = operations(config)
        report["results"][architecture] = {
            "config": config.model_dump(mode="json"),
            "operations_per_iteration": needed,
            "optimiser_bytes_per_iteration": optimiser_bytes(config),
            "sides": sides,
        }
        for side, result in sides.items():
            low, high = result["round_ratio_quartiles"]
            floor = needed / peaks[side] if side in peaks else None
            table.add_row(
                architecture if side == PLAIN else "",
                side,
                f"{1e3 * result['seconds_per_iteration']:.1f}",
                f"{result['images_per_second']:,.0f}",
                "" if side == PLAIN else f"{result['ratio']:.2f} ({low:.2f} to {high:.2f})",
                "" if floor is None else f"{floor / result['seconds_per_iteration']:.0%}",
            )
    console.print(table)
    for side, reached in peaks.items():
        console.print(f"peak in {side}: {reached / 1e9:,.0f} GFLOP/s", highlight=False)
    RESULTS.mkdir(exist_ok=True)
    name = f"training_step_{now:%Y-%m-%dT%H%M%S}_{device.type}_{args.threads}_threads.json"
    (RESULTS / name).write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {RESULTS.name}/{name}")


if __name__ == "__main__":
    main()

"""How much faster is the harness's training loop than the script that everyone writes?

Both make the same updates of the same networks in float32: one discriminator and one generator
update per iteration, with the non-saturating loss and Adam. Each has a process of its own, and the
two take turns, round by round.

    python benchmarks/training_step.py --threads 2
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader
from torchvision import transforms

from harness.data import Batch, Facts, Part, load_dataset, to_uint8
from harness.run.loop import MEASUREMENTS_PER_RUN, Measured, train
from harness.systems import Budget
from harness.systems.gan import GAN, GANConfig
from harness.systems.gan.architectures import ARCHITECTURES

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
        if isinstance(module, nn.ConvTranspose2d):
            module.__class__ = nn.ConvTranspose2d
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
        self.discriminator = discriminator.to(device)
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


def harness_rounds(config: GANConfig, images: Tensor, device: torch.device, steps: int) -> Round:
    part = Part(images=images, labels=None).to(device)
    events = train(GAN(config, FACTS, device), part, milestones=1)

    def run() -> None:
        while not isinstance(next(events), Measured):
            pass

    return run


SIDES = {"plain script": plain_rounds, "harness": harness_rounds}


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
    """Return medians, rates and the ratio, with the quartiles of the rounds' own ratios."""
    plain, ours = seconds["plain script"], seconds["harness"]
    ratios = [a / b for a, b in zip(plain, ours, strict=True)]
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "seconds_per_iteration": medians,
        "images_per_second": {side: batch_size / value for side, value in medians.items()},
        "ratio": medians["plain script"] / medians["harness"],
        "ratio_of_minima": min(plain) / min(ours),
        "round_ratio_quartiles": [low, high],
        "rounds": seconds,
    }


def hardware(device: torch.device) -> dict[str, Any]:
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
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "libc": " ".join(platform.libc_ver()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--architectures", nargs="+", default=COMPARED, choices=COMPARED)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=5, help="iterations per round")
    parser.add_argument("--rounds", type=int, default=25, help="rounds per side, 2 to 98")
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    if not 2 <= args.rounds < MEASUREMENTS_PER_RUN - 1:
        parser.error(f"--rounds must be 2 to {MEASUREMENTS_PER_RUN - 2}")
    device = torch.device(args.device)
    now = datetime.now(UTC)

    console = Console()
    data_name = load_images()[1]
    table = Table(title=f"{device}, {args.threads} threads, batch {args.batch_size}, {data_name}")
    for heading in ("architecture", "side", "ms / iteration", "images / s", "ratio (quartiles)"):
        table.add_column(
            heading, justify="left" if heading in ("architecture", "side") else "right"
        )
    report: dict[str, Any] = {
        "date": now.isoformat(timespec="seconds"),
        "arguments": vars(args),
        "data": data_name,
        "hardware": hardware(device),
        "versions": versions(),
        "results": {},
    }
    for architecture in args.architectures:
        difference = check_same_updates(architecture, device)
        console.print(f"{architecture}: same updates (weights differ by {difference:.0e} at most)")
        config = make_config(architecture, args.batch_size, args.steps)
        result = summarise(measure(config, args), args.batch_size)
        report["results"][architecture] = {"config": config.model_dump(mode="json"), **result}
        low, high = result["round_ratio_quartiles"]
        for side in SIDES:
            ours = side == "harness"
            table.add_row(
                architecture if not ours else "",
                side,
                f"{1e3 * result['seconds_per_iteration'][side]:.1f}",
                f"{result['images_per_second'][side]:,.0f}",
                f"{result['ratio']:.2f} ({low:.2f} to {high:.2f})" if ours else "",
            )
    console.print(table)
    RESULTS.mkdir(exist_ok=True)
    name = f"training_step_{now:%Y-%m-%dT%H%M%S}_{device.type}_{args.threads}_threads.json"
    (RESULTS / name).write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {RESULTS.name}/{name}")


if __name__ == "__main__":
    main()

"""Named random streams."""

from __future__ import annotations

import hashlib

import pytest
import torch

from harness.randomness import Streams, derive_seed, seeded

CPU = torch.device("cpu")


def test_seed_is_the_hash_of_the_path() -> None:
    digest = hashlib.sha256(b"7/arm/3").hexdigest()
    assert derive_seed(7, "arm", 3) == int(digest[:16], 16) // 2


def test_seeds_are_stable_across_versions() -> None:
    assert derive_seed(0, "latents") == 1673739146642340296
    assert derive_seed(0, "order") == 5231958647509549229


def test_distinct_paths_give_distinct_seeds() -> None:
    seeds = {derive_seed(root, name) for root in range(50) for name in ("a", "b", "c")}
    assert len(seeds) == 150
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_does_not_depend_on_the_others() -> None:
    alone = Streams(3, ["latents"], CPU)
    together = Streams(3, ["order", "latents", "dropout"], CPU)
    torch.rand(5, generator=together["order"])
    draws = [torch.rand(4, generator=streams["latents"]) for streams in (alone, together)]
    assert torch.equal(*draws)
    other = torch.rand(4, generator=Streams(4, ["latents"], CPU)["latents"])
    assert not torch.equal(draws[0], other)
    dropout = torch.rand(4, generator=together["dropout"])
    assert not torch.equal(draws[0], dropout)


def test_state_round_trip_continues_every_stream() -> None:
    streams = Streams(3, ["a", "b"], CPU)
    torch.rand(7, generator=streams["a"])
    saved = streams.state_dict()
    expected = [torch.rand(3, generator=streams[name]) for name in "ab"]
    fresh = Streams(99, ["a", "b"], CPU)
    fresh.load_state_dict(saved)
    for name, values in zip("ab", expected, strict=True):
        assert torch.equal(torch.rand(3, generator=fresh[name]), values)


def test_streams_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(5, generator=Streams(0, ["a"], CPU)["a"])
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_block_is_reproducible_and_puts_the_state_back() -> None:
    before = torch.get_rng_state()
    draws = []
    for seed in (5, 5, 6):
        with seeded(seed):
            draws.append(torch.rand(4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_seeded_block_puts_the_state_back_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(5):
        torch.rand(4, 4) @ torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)

"""The stream of batches: fresh orders, whatever the batch size, and continued from its state."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.data import Batches, Part, to_uint8


def numbered(num: int) -> Tensor:
    """Images that show their own index."""
    return torch.arange(num, dtype=torch.uint8).view(num, 1, 1, 1).expand(num, 1, 2, 2).clone()


def stream(num: int, batch_size: int, seed: int = 0) -> tuple[Batches, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return Batches(Part(images=numbered(num), labels=None), batch_size, generator), generator


def take(batches: Batches, num: int) -> Tensor:
    """Return as many batches, (num, N, C, H, W)."""
    return torch.stack([batches.take().images for _ in range(num)])


def indices(batches: Tensor) -> list[int]:
    return to_uint8(batches)[:, :, 0, 0, 0].flatten().tolist()


def taken(batches: Batches, num: int) -> list[int]:
    return indices(take(batches, num))


def test_every_epoch_visits_each_image_once_in_a_fresh_order() -> None:
    batches, _ = stream(20, 4)
    epochs = [taken(batches, 5) for _ in range(4)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert list(range(20)) not in epochs


def test_a_batch_may_span_epochs() -> None:
    batches, _ = stream(10, 4)
    seen = taken(batches, 5)
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))


def test_batches_larger_than_an_epoch() -> None:
    batches, _ = stream(3, 8)
    seen = taken(batches, 3)
    assert len(seen) == 24
    for start in range(0, 24, 3):
        assert sorted(seen[start : start + 3]) == [0, 1, 2]


def test_shape_and_range_of_batches() -> None:
    batches, _ = stream(256, 5)
    got = take(batches, 60)
    assert got.shape == (60, 5, 1, 2, 2)
    assert got.dtype == torch.float32
    assert got.min() == -1
    assert got.max() == 1


def test_the_stream_does_not_depend_on_how_it_is_cut() -> None:
    for batch_size in (1, 4, 12, 30):
        batches, _ = stream(10, batch_size)
        assert taken(batches, 60 // batch_size) == taken(stream(10, 3)[0], 20)


def test_images_are_counted() -> None:
    batches, _ = stream(10, 3)
    assert batches.images_seen == 0
    take(batches, 5)
    assert batches.images_seen == 15


def test_labels_stay_with_their_images() -> None:
    part = Part(images=numbered(20), labels=torch.arange(20) * 7)
    batches = Batches(part, 6, torch.Generator().manual_seed(0))
    for _ in range(10):
        batch = batches.take()
        assert batch.labels is not None
        assert batch.labels.dtype == torch.int64
        assert batch.labels.tolist() == [7 * index for index in indices(batch.images[None])]
    assert stream(20, 6)[0].take().labels is None


def test_order_depends_on_the_generator_only() -> None:
    torch.manual_seed(0)
    first = taken(stream(20, 10)[0], 2)
    torch.manual_seed(1)
    assert taken(stream(20, 10)[0], 2) == first
    assert taken(stream(20, 10, seed=1)[0], 2) != first


def test_batches_continue_from_their_state() -> None:
    batches, generator = stream(10, 3)
    take(batches, 2)
    saved, generator_state = batches.state_dict(), generator.get_state()
    expected = taken(batches, 6)
    resumed, other = stream(10, 3, seed=77)
    resumed.take()
    resumed.load_state_dict(saved)
    other.set_state(generator_state)
    assert resumed.images_seen == 2 * 3
    assert taken(resumed, 6) == expected
    assert resumed.images_seen == 8 * 3

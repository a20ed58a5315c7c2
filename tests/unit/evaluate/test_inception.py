"""InceptionV3, with random weights of the right form: no test needs the network."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data import Dataset, Part
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig, Evaluator
from harness.evaluate.inception import inception

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the right form that nobody trained."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url",
            lambda *_, **__: {},
        )
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), path)
    return path


def test_inception_takes_grey_images_as_three_channels(
    random_inception: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_rng_state()
    extractor = inception(random_inception, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert re.fullmatch(r"inception_[0-9a-f]{8}", extractor.name)
    grey = torch.randint(0, 256, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    grey = grey.to(torch.uint8)
    features = extractor(grey)
    assert features.values.shape == (2, 2048)
    assert features.values.dtype == torch.float32
    assert features.classes is None
    assert torch.equal(features.values, extractor(grey.repeat(1, 3, 1, 1)).values)
    assert not torch.equal(features.values[0], features.values[1])
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_evaluator_with_inception(random_inception: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 3, 8, 8), generator=generator).to(torch.uint8)
    unlabelled = Part(images=images, labels=None)
    dataset = Dataset(
        name="folder:/x", source="", train=unlabelled, validation=unlabelled, test=unlabelled
    )
    config = EvaluateConfig(
        kid_subsets=2, extractor="inception", extractor_weights=random_inception
    )
    scorer = Evaluator(dataset, config, cache_dir=tmp_path, device=CPU)
    assert re.fullmatch(r"inception_[0-9a-f]{8}_16", scorer.protocol)
    assert scorer.describe()["num_features"] == "2048"
    scores = scorer.score(images.flip(3), "test")
    assert np.isfinite(list(scores.values())).all()


def test_inception_without_network_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(HarnessError, match=r"no route to host.*evaluate\.extractor_weights"):
        inception(None, CPU)


class Malice:
    """A pickle that would touch a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (Path.touch, (self.path,))


def test_bad_inception_weights_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("missing.pth", "text.pth", "other.pth", "malice.pth")]
    paths[1].write_text("not weights")
    torch.save({"weight": torch.ones(3)}, paths[2])
    torch.save({"weight": Malice(tmp_path / "touched")}, paths[3])
    for path in paths:
        with pytest.raises(HarnessError, match=r"evaluate\.extractor_weights.*not a readable") as e:
            inception(path, CPU)
        assert "\n" not in str(e.value)
    assert not (tmp_path / "touched").exists()

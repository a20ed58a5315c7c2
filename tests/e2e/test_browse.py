"""What a person sees and clicks in MLflow's pages, in a browser with a fresh profile.

Needs Chromium (Debian's package `chromium`) and the dependency group `browser`.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.launch import run_study
from harness.records.workspace import Workspace
from harness.results.report import write_report
from harness.run.loop import Progress
from harness.run.runner import RunResult
from harness.study.file import load_study

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

STEPS = (1_000, 4_000, 16_000, 64_000)
EXTRA_SECONDS = 2.0
BUSY = 3.0  # machines that run tests do other things too

PICTURES = "img[src*='get-artifact']"

STUDY = """
question = "Which width is best?"
dataset = "digits"
baseline = { g_width = 8 }
fixed = { architecture = "mlp", d_width = 8, latent_dim = 4, batch_size = 16 }
compare = { g_width = [WIDTHS] }
space = { g_lr = { low = 1e-4, high = 1e-2, log = true } }
search = { trials_per_arm = TRIALS }
confirm = { seeds = SEEDS }
budget = { images = 64_000 }
evaluate = { times = 4, samples = 64 }
"""


def _fake_run(config: Any, bench: Any, recorder: Any, **options: Any) -> RunResult:
    """Record what a run records, without training: wider generators score better."""
    rng = np.random.default_rng(config.seed)
    final = 400 / config.g_width + rng.uniform(0, 1)
    splits = options["final_splits"]
    scores: dict[str, float] = {}
    for step in STEPS:
        for name in ("d_loss", "g_loss", "d_grad_norm", "g_grad_norm", "d_real_logit"):
            recorder.log_metrics({f"train/{name}": float(rng.normal())}, step)
        recorder.log_metrics({"progress/epochs": step / 997, "progress/train_seconds": 1.0}, step)
        scores = {
            bench.evaluator.key(split, figure): final * (64_000 / step) ** 0.3
            for split in (splits if step == STEPS[-1] else splits[:1])
            for figure in ("fid", "kid", "precision", "recall", "density", "coverage")
        }
        recorder.log_metrics(scores, step)
        if "test" in splits:  # nobody looks at pictures of searches
            shade = 255 * np.log(step) / np.log(STEPS[-1])
            recorder.log_grid("samples", np.full((128, 128, 3), shade, np.uint8), step)
    recorder.log_floors(bench.floors)
    progress = Progress(images_seen=STEPS[-1])
    return RunResult(outcome="finished", progress=progress, scores=scores, last_scores=scores)


@dataclass(frozen=True)
class Served:
    """A study whose pages are served."""

    address: str
    arms: list[str]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Return a function that makes a study of so many arms, trials and seeds, and serves it."""
    servers: list[subprocess.Popen[str]] = []

    def serve(arms: int, trials: int, seeds: int) -> Served:
        folder = tmp_path_factory.mktemp("browse")
        widths = [8 * 2**place for place in range(arms)]
        text = STUDY.replace("WIDTHS", ", ".join(map(str, widths)))
        text = text.replace("TRIALS", str(trials)).replace("SEEDS", str(seeds))
        (folder / "widths.toml").write_text(text)
        workspace = Workspace.locate(root=folder / "mlruns", data_dir=folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.work.worker.run", _fake_run)
            study = load_study(folder / "widths.toml")
            run_study("widths", study, workspace, device="cpu", threads=1, underpowered=True)
            write_report(["widths"], workspace, folder / "report")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "harness.cli", "ui", "widths", "--no-open"]
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        servers.append(server)
        assert server.stdout is not None
        address = server.stdout.readline().removeprefix("widths: ").strip()
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        return Served(address, [f"g_width={width}" for width in reversed(widths)])

    yield serve
    for server in servers:
        server.terminate()
        server.communicate(timeout=60)


@pytest.fixture(scope="module")
def small(serve: Callable[..., Served]) -> Served:
    return serve(arms=2, trials=2, seeds=3)


@pytest.fixture
def page() -> Iterator[Page]:
    """Return a page of a browser that has never been here."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1500, "height": 1300})
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()


def first_view(page: Page, served: Served) -> float:
    """Open a study and return after how many seconds arms, curves and samples are there."""
    start = time.monotonic()
    page.goto(served.address)
    for arm in served.arms:
        page.get_by_text(f"Group: {arm}").first.wait_for()
    page.locator(".js-plotly-plot .trace").first.wait_for()
    page.locator(PICTURES).first.wait_for()
    return time.monotonic() - start


def first_curve(page: Page, address: str) -> float:
    """Open a page and return after how many seconds any curve is there."""
    start = time.monotonic()
    page.goto(address)
    page.locator(".js-plotly-plot .trace").first.wait_for()
    return time.monotonic() - start


def picture_sources(page: Page) -> list[str]:
    found = page.locator(PICTURES)
    return [str(found.nth(place).get_attribute("src")) for place in range(found.count())]


def test_a_fresh_profile_lands_on_the_answer(page: Page, small: Served) -> None:
    first_view(page, small)
    text = " ".join(page.locator("body").inner_text().split())
    places = [text.index(f"Group: {arm}") for arm in small.arms]
    assert places == sorted(places)  # by test score
    assert "search" not in re.sub(r"Search.*", "", text)  # confirm runs only
    assert f"{small.arms[0]} seed 1" in text
    assert text.index("Scores (2)") < text.index("Samples (1)")
    assert "Which width is best?" in text
    assert "is not resolved with 3 and 3 runs" in text
    assert "g_lr" not in text  # no picture is covered by settings
    page.locator("input[value=TABLE]").dispatch_event("click")
    page.get_by_text("g_lr").first.wait_for()  # a column
    assert "test/fid_digits" in page.locator("body").inner_text()


def test_the_slider_plays_the_samples(page: Page, small: Served) -> None:
    first_view(page, small)
    last = picture_sources(page)
    assert len(last) == 6  # every confirm run of a small study
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press("ArrowLeft")
    page.locator("img[src*='step%2B16000']").first.wait_for()
    assert all("step%2B64000" in source for source in last)


def test_the_description_leads_to_the_report(page: Page, small: Served) -> None:
    first_view(page, small)
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Report", exact=True).first.click()
    report = opened.value
    report.get_by_text("reports/widths/report.html").first.wait_for()
    report.frame_locator("iframe").get_by_text("Threats to validity").first.wait_for()


def test_three_hundred_runs_open_hardly_later_than_ten(
    page: Page, small: Served, serve: Callable[..., Served]
) -> None:
    """MLflow's pages have a cost of their own, which differs between machines."""
    base = first_view(page, small)
    page.goto("about:blank")
    many = serve(arms=5, trials=40, seeds=20)
    seconds = first_view(page, many)
    assert len(picture_sources(page)) == 5  # one of every arm
    page.goto("about:blank")
    assert page.context.browser is not None
    with page.context.browser.new_context(viewport=page.viewport_size) as nobody:
        plain = first_curve(nobody.new_page(), many.address.partition("&viewStateShareKey")[0])
    print(
        f"first view of 10 runs: {base:.1f} s, of 300: {seconds:.1f} s; "
        f"the first curve of 300 where no view was prepared: {plain:.1f} s"
    )
    assert seconds < base + BUSY * EXTRA_SECONDS

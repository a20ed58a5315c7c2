"""Sample pictures: the same latents in every arm, and the worst run beside the best."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from harness.data.pictures import Picture
from harness.results.report.analysis import Analysis
from harness.results.report.arm import ArmAnalysis
from harness.results.report.records import RunRecord
from harness.results.report.style import PAGE_INCHES, Drawing, drawing
from harness.results.spelling import number
from harness.run.runner import CLASSES_KEY, GRID_KEY, NEIGHBOURS_KEY
from harness.systems import SYSTEMS

Grids = Callable[..., Mapping[int, Picture]]
"""(run id, kind of picture, last_only=...) -> pictures by images seen."""

ARMS_KEY = "arms"  # samples of all arms beside each other
MAIN_FIGURES = ("scores", "score_curves", "over_training")
MOST_ARMS = 8
MOST_STEPS = 7
ABREAST = 3  # arms beside each other
MOST_PIXELS = 480  # a grid's longer side in a report
GAP_PIXELS = 12
HEADING_INCHES = 0.42
WHITE = 255


def chosen_runs(arm: ArmAnalysis) -> dict[str, RunRecord]:
    """Return an arm's best, median and worst scored runs (fewer if it has fewer)."""
    runs = arm.scored
    if len(runs) < 3:
        return dict(zip(("best", "worst"), runs, strict=False))
    return {"best": runs[0], "median": runs[(len(runs) - 1) // 2], "worst": runs[-1]}


INPUTS = ("system", "latent_dim", "prior", "truncation", "conditioning")
"""Settings that decide which inputs a picture is made of."""


def build_galleries(analysis: Analysis, grids: Grids, real: Picture | None) -> list[Drawing]:
    """Return what samples look like, as far as there are pictures.

    Args:
        analysis: The study.
        grids: Finds the pictures of a run.
        real: Real images.
    """
    scored = [arm for arm in analysis.arms if arm.scored]
    arms = scored[:MOST_ARMS]
    left_out = ""
    if len(scored) > len(arms):
        left_out = f" Shown are the first {len(arms)} of {len(scored)} arms."
    with drawing():
        drawings = [
            _samples(analysis, arms, grids, real, left_out),
            _of_medians(
                arms,
                grids,
                NEIGHBOURS_KEY,
                "Samples of every arm's median confirm run, each above the training image with the "
                f"nearest features, of as many as are scored.{left_out}",
            ),
            _of_medians(
                arms,
                grids,
                CLASSES_KEY,
                "Samples of every arm's median confirm run by the class that they were asked for, "
                "or, of arms that are asked for none, that the ruler gives them: "
                f"{analysis.records.kind.by_class}, not selected otherwise.{left_out}",
            ),
            _over_training(analysis, arms, grids, left_out),
        ]
        for key, caption in own_pictures(analysis).items():
            drawings.append(_own(analysis, arms, grids, key, f"{caption}.{left_out}"))
    return [each for each in drawings if each is not None]


def parent_pictures(
    analysis: Analysis, grids: Grids, drawings: Sequence[Drawing]
) -> dict[str, dict[int, Picture]]:
    """Return what a study's own run shows in MLflow: key -> pictures by images seen.

    These are samples of all arms beside each other, of the same inputs, for as many evaluations as
    all of them have; and a report's main figures.

    Args:
        analysis: The study.
        grids: Finds the pictures of a run.
        drawings: The report's figures.
    """
    by_arm = {
        arm.name: _trained(grids(_median_run(arm).run_id, GRID_KEY))
        for arm in analysis.arms[:MOST_ARMS]
        if arm.scored
    }
    steps = set.intersection(*(set(pictures) for pictures in by_arm.values())) if by_arm else set()
    beside: dict[int, Picture] = {}
    for step in sorted(steps):
        rows = {
            name: [("", analysis.records.kind.part_of(pictures[step]))]
            for name, pictures in by_arm.items()
        }
        if strips := _gallery(rows, name=ARMS_KEY, caption="", alt=""):
            beside[step] = _pixels(strips)
    last = max(steps, default=0)
    main = {each.name: {last: _pixels(each)} for each in drawings if each.name in MAIN_FIGURES}
    return {ARMS_KEY: beside} | main


def _pixels(drawing: Drawing) -> Picture:
    with Image.open(io.BytesIO(drawing.save("png"))) as picture:
        return np.asarray(picture.convert("RGB"))


def own_pictures(analysis: Analysis) -> dict[str, str]:
    """Return the pictures that the arms' systems declare: key -> what they show."""
    found: dict[str, str] = {}
    for arm in analysis.arms:
        found |= SYSTEMS[arm.config.system].pictures(arm.config)
    return found


def _own(
    analysis: Analysis, arms: Sequence[ArmAnalysis], grids: Grids, key: str, caption: str
) -> Drawing | None:
    """Return a picture of systems' own, over training where it is as legible when it is small."""
    shown = f"Of every arm's median confirm run that has such a picture: {caption}"
    if not analysis.records.kind.own_in_strips:
        return _of_medians(arms, grids, key, shown)
    return _strips(analysis, arms, partial(grids, key=key), lambda whole: whole, name=key,
                   caption=f"Over training. {shown}")  # fmt: skip


def _of_medians(
    arms: Sequence[ArmAnalysis], grids: Grids, key: str, caption: str
) -> Drawing | None:
    """Return a kind of picture of every arm's median run, up to three arms side by side."""
    found = []
    for arm in arms:
        run = _median_run(arm)
        pictures = grids(run.run_id, key, last_only=True).values()
        found += [(f"{arm.name}, seed {run.seed}", picture) for picture in pictures]
    rows = {
        "; ".join(title for title, _ in row): [("", picture) for _, picture in row]
        for row in (found[place : place + ABREAST] for place in range(0, len(found), ABREAST))
    }
    names = "; ".join(title for title, _ in found)
    return _gallery(rows, name=key, caption=caption, alt=f"Generated images: {names}.")


def _median_run(arm: ArmAnalysis) -> RunRecord:
    runs = chosen_runs(arm)
    return runs.get("median", runs["best"])


def _samples(
    analysis: Analysis,
    arms: Sequence[ArmAnalysis],
    grids: Grids,
    real: Picture | None,
    left_out: str,
) -> Drawing | None:
    kind = analysis.records.kind
    rows: dict[str, list[tuple[str, Picture]]] = {}
    if real is not None and arms:
        rows[f"real {kind.noun}"] = [("of the test split", real)]
    shown = [run for arm in arms for run in chosen_runs(arm).values()]
    same = len({tuple(map(run.params.get, INPUTS)) for run in shown}) == 1
    for arm in arms:
        row = []
        for which, run in chosen_runs(arm).items():
            score = f"{analysis.figure.label} {number(run.score(analysis.metric))}"
            title = f"{which}: test {score}, seed {run.seed}"
            row += [(title, picture) for picture in grids(run.run_id, last_only=True).values()]
        rows[arm.name] = row
    return _gallery(
        rows,
        name="samples",
        caption="Final samples of confirm runs: of every arm the best, the median and the worst "
        f"that has a test {analysis.figure.label}. "
        + (f"The {kind.num_shown} inputs are the same in all pictures; n" if same else "N")
        + f"othing else was selected.{left_out}",
        alt=f"Pictures of {kind.num_shown} generated {kind.noun} of the best, median and worst "
        f"run: {'; '.join(rows)}.",
    )


def _over_training(
    analysis: Analysis, arms: Sequence[ArmAnalysis], grids: Grids, left_out: str
) -> Drawing | None:
    kind = analysis.records.kind
    return _strips(
        analysis,
        arms,
        partial(grids, key=GRID_KEY),
        kind.part_of,
        name="over_training",
        caption=f"Samples over training, by real {kind.noun} seen, of every arm's median "
        f"confirm run (of two, the better); the same {kind.num_in_strip} inputs along a row."
        f"{left_out}",
    )


def _strips(
    analysis: Analysis,
    arms: Sequence[ArmAnalysis],
    grids: Grids,
    part_of: Callable[[Picture], Picture],
    *,
    name: str,
    caption: str,
) -> Drawing | None:
    """Return a kind of picture of every arm's median run, from the first evaluation to the last."""
    rows = {}
    for arm in arms:
        run = _median_run(arm)
        rows[f"{arm.name}, seed {run.seed}"] = [
            (f"{step:,}", part_of(picture))
            for step, picture in _spread(_trained(grids(run.run_id, last_only=False)))
        ]
    return _gallery(
        rows,
        name=name,
        caption=caption,
        alt=f"Strips of generated {analysis.records.kind.noun} over training, for the "
        f"arms {'; '.join(rows)}.",
    )


def _gallery(
    rows: Mapping[str, Sequence[tuple[str, Picture]]], *, name: str, caption: str, alt: str
) -> Drawing | None:
    """Return named rows of titled pictures, each row as one image: few axes draw quickly."""
    rows = {label: row for label, row in rows.items() if row}
    if not rows:
        return None
    columns = max(map(len, rows.values()))
    row_inches = HEADING_INCHES + PAGE_INCHES / columns
    figure = Figure(figsize=(PAGE_INCHES, len(rows) * row_inches))
    figure.set_layout_engine("none")
    band, heading = 1 / len(rows), HEADING_INCHES / (len(rows) * row_inches)
    for index, (label, row) in enumerate(rows.items()):
        pictures = [_shrink(picture) for _, picture in row]
        height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
        canvas = np.full((height, columns * (width + GAP_PIXELS) - GAP_PIXELS, 3), WHITE, np.uint8)
        ax = figure.add_axes((0.005, 1 - (index + 1) * band, 0.99, band - heading))
        ax.axis("off")
        for column, ((title, _), picture) in enumerate(zip(row, pictures, strict=True)):
            left = column * (width + GAP_PIXELS)
            canvas[: picture.shape[0], left : left + picture.shape[1]] = picture
            ax.annotate(
                title,
                (left + width / 2, 0),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
            )
        ax.annotate(label, (0, 0), xytext=(0, 15), textcoords="offset points", fontweight="bold")
        ax.imshow(canvas, interpolation="nearest", aspect="equal")
    return Drawing(name=name, caption=caption, alt=alt, figure=figure)


def _trained(pictures: Mapping[int, Picture]) -> dict[int, Picture]:
    """Return the pictures without that of noise, from before training, which early runs have."""
    return {step: picture for step, picture in pictures.items() if step > 0}


def _spread(pictures: Mapping[int, Picture]) -> list[tuple[int, Picture]]:
    """Return at most `MOST_STEPS` pictures, evenly chosen, first and last among them."""
    items = list(pictures.items())
    if len(items) <= MOST_STEPS:
        return items
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, MOST_STEPS)]


def _shrink(picture: Picture) -> Picture:
    """Return a large picture with fewer pixels, so that a report stays small."""
    step = -(-max(picture.shape[:2]) // MOST_PIXELS)
    if step == 1:
        return picture
    height, width = picture.shape[:2]
    return np.asarray(Image.fromarray(picture).resize((width // step, height // step)))

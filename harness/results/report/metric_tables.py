"""The tables of all that runs are scored by, beside real images and untranslated ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.evaluate.metric import Figure
from harness.results.report.analysis import Analysis
from harness.results.report.records import JUDGE
from harness.results.report.table import Table, row
from harness.results.spelling import NONE, number, plus_minus
from harness.statistics import finite_or_none


def metrics(analysis: Analysis) -> Table:
    """Return the table of all metrics but that which arms are compared by."""
    others = [figure for figure in analysis.figures if figure != analysis.figure]
    noun = analysis.records.kind.noun
    rows = []
    for arm in analysis.arms:
        if arm.scored:
            keys = [analysis.objective, *(arm.key(figure) or "" for figure in others)]
            means = [arm.metric_mean(key) for key in keys]
            cells = [plus_minus(finite_or_none(mean), finite_or_none(sd)) for mean, sd in means]
            rows.append(row(arm.name, *cells, runs=arm.confirm))
    if rows:
        rows[:0] = [row(name, NONE, *cells) for name, *cells in _references(analysis, others)]
    notes = [
        f"{figure.label}: {figure.description[0].lower()}{figure.description[1:]}, "
        f"{figure.direction()}{'; it ' * bool(figure.caveat)}{figure.caveat}"
        for figure in others
    ]
    return Table(
        name="metrics",
        caption=(
            f"Other metrics of the confirm runs on test {noun}, mean ± sd over runs; of real "
            f"{noun} over draws. None of them took part in any choice. {'. '.join(notes)}."
        ),
        columns=(
            "arm",
            f"validation {analysis.figure.label}",
            *(figure.label for figure in others),
        ),
        rows=tuple(rows),
    )


def metrics_by_the_judge(analysis: Analysis) -> Table:
    """Return the table of what a second ruler makes of the samples; without rows if none does."""
    figures = analysis.judged
    rows, judges = [], []
    for arm in analysis.arms:
        keys = [arm.key(figure, judged=True) or "" for figure in figures]
        if any(keys):
            means = [arm.metric_mean(key) for key in keys]
            cells = [plus_minus(finite_or_none(mean), finite_or_none(sd)) for mean, sd in means]
            rows.append(row(arm.name, *cells, runs=arm.confirm))
            judges += [run.params[JUDGE] for run in arm.scored if JUDGE in run.params]
    if rows:
        rows[:0] = [row(*cells) for cells in _references(analysis, figures, judged=True)]
    noun = analysis.records.kind.noun
    return Table(
        name="judge",
        caption=(
            f"The same samples measured by a second ruler, {' / '.join(sorted(set(judges)))}, "
            "that was trained apart, is a network of another shape and took no part in any choice: "
            f"mean ± sd over the confirm runs, against test {noun}; of real {noun} over draws. Its "
            "values do not compare with the ruler's, their order does."
        ),
        columns=("arm", *(figure.label for figure in figures)),
        rows=tuple(rows),
    )


def metrics_of_the_way_back(analysis: Analysis) -> Table:
    """Return the table of all metrics of translations back; without rows where there are none."""
    figures = analysis.figures if analysis.leads_back else ()
    rows = []
    for arm in analysis.arms:
        if arm.scored and figures:
            keys = [arm.key(figure, back=True) or "" for figure in figures]
            means = [arm.metric_mean(key) for key in keys]
            cells = [plus_minus(finite_or_none(mean), finite_or_none(sd)) for mean, sd in means]
            rows.append(row(arm.name, *cells, runs=arm.confirm))
    if rows:
        rows[:0] = [row(*cells) for cells in _references(analysis, figures, back=True)]
    return Table(
        name="back",
        caption=(
            "Translations back: test images of the target domain, translated to the other one and "
            "compared with its test images, mean ± sd over the confirm runs. None of this took "
            "part in any choice."
        ),
        columns=("arm", *(figure.label for figure in figures)),
        rows=tuple(rows),
    )


def _references(
    analysis: Analysis, figures: Sequence[Figure], **whose: bool
) -> Iterator[tuple[str, ...]]:
    """Yield what real images score, and what translated ones do as they are, as cells."""
    floors = [analysis.floor(figure, **whose) for figure in figures]
    if any(floor is not None for floor, _ in floors):
        yield "real images", *(plus_minus(floor, sd) for floor, sd in floors)
    copies = [analysis.copies(figure, **whose) for figure in figures]
    if any(copy is not None for copy in copies):
        yield "images as they are", *(number(copy) for copy in copies)

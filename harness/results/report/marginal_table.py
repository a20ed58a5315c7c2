"""The table of what a search shows of each parameter."""

from __future__ import annotations

from harness.results.marginals import FEWEST_TRIALS
from harness.results.report.analysis import Analysis
from harness.results.report.table import Table, row
from harness.results.spelling import number, p_text


def marginal_table(analysis: Analysis) -> Table:
    """Return a row per piece of every parameter of searches that are long enough."""
    label = analysis.figure.label
    rows = []
    for each in analysis.summary.marginals:
        for place, piece in enumerate(each.pieces):
            tested = place == 0
            rows.append(
                row(
                    f"{each.arm}: {each.key} {piece.name}",
                    str(piece.num_trials),
                    str(piece.num_lost),
                    number(piece.median),
                    number(piece.best),
                    p_text(each.p_value) if tested else "",
                    p_text(each.p_holm) if tested else "",
                    runs=[],
                )
            )
    whys = dict.fromkeys(each.untested for each in analysis.summary.marginals if each.untested)
    return Table(
        name="marginals",
        caption=(
            f"What the trials show of each parameter, whatever the others were, on validation "
            f"{label} (searches of {FEWEST_TRIALS} trials or more; trial 0, the defaults, is left "
            "out). A range falls into three parts that are equal on the scale searched. Best: "
            "expected best of as many trials as the smallest part has. "
            + (
                "p: permutation test of Kruskal and Wallis that all parts score alike, which "
                "random sampling makes valid, with Holm's adjustment over the arm's parameters. "
            )
            + "".join(f"No p where {why}. " for why in whys)
            + "It is about one search at the search's budget, and about typical settings of the "
            "others: a parameter can matter near the best settings alone."
        ),
        columns=("parameter", "trials", "lost", f"median {label}", "best", "p", "p (Holm)"),
        rows=tuple(rows),
    )

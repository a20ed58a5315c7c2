"""Write the example report's text again from its runs.csv, and compare.

`python scripts/check_example.py` fills the templates in `scripts/example/` with what plain NumPy
and SciPy compute of the runs: every line of `docs/example-report/report.md`, and of the README
between its example marks, must be the same. Another checkout may be named. Nothing of the harness
is imported: a mistake in its statistics shows. Of what no run tells, such as dates, the form is
checked.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import re
import string
import sys
import tomllib
from pathlib import Path

from example.facts import Facts
from example.slots import only_shown, slots

TEMPLATES = Path(__file__).parent / "example"


def read_facts(root: Path) -> Facts:
    """Return what the runs say."""
    source = (root / "studies" / "mlp_vs_dc.toml").read_text()
    with (root / "docs" / "example-report" / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return Facts(rows, tomllib.loads(source), hashlib.sha256(source.encode()).hexdigest())


def expected(name: str, found: dict[str, str]) -> str:
    """Return a template with its slots filled."""
    return string.Template((TEMPLATES / f"{name}.txt").read_text()).substitute(found)


def sentences(text: str) -> list[str]:
    """Return a text in pieces: headings, pictures, rows and the sentences of its paragraphs.

    Where lines break within a paragraph does not count.
    """
    text = re.sub(r"(?<=[^\n|`])\n(?=[^\n|`#!>-])", " ", text)
    pieces = re.split(r"\n+|(?<=[.:;]) (?=\S)", text)
    return [piece.strip() for piece in pieces if piece.strip()]


def differences(shown: str, wanted: str) -> list[str]:
    """Return what a text says that it should not, and what it should say."""
    found, right = sentences(shown), sentences(wanted)
    blocks = difflib.SequenceMatcher(None, found, right, autojunk=False).get_opcodes()
    problems = []
    for kind, start, end, first, last in blocks:
        if kind != "equal":
            said, meant = " ".join(found[start:end]), " ".join(right[first:last])
            problems.append(f"says: {said or 'nothing'}\n    computed: {meant or 'nothing'}")
    return problems


def example_of(readme: str) -> str:
    """Return the README's text between its marks."""
    return "\n".join(re.findall(r"<!-- example -->(.*?)<!-- /example -->", readme, flags=re.DOTALL))


def check(report: str, readme: str, facts: Facts) -> list[str]:
    """Return all problems of the two texts."""
    found = slots(facts) | only_shown(report, facts)
    texts = {"report": report, "readme": example_of(readme)}
    return [
        f"{name} {problem}"
        for name, text in texts.items()
        for problem in differences(text, expected(name, found))
    ]


def main() -> None:
    """Check the example and say what was found; exit status 1 if anything disagrees."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    report = (root / "docs" / "example-report" / "report.md").read_text()
    problems = check(report, (root / "README.md").read_text(), read_facts(root))
    for problem in problems:
        print(problem)
    print(f"{len(sentences(report))} pieces of text checked, {len(problems)} problems")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

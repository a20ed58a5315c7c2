"""Numbers and names as people read them."""

from __future__ import annotations

import pytest

from harness.results.spelling import commit_text, counted, number, operations

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("commit", "text"),
    [
        (COMMIT, "0123456789ab"),
        (f"{COMMIT}-dirty", "0123456789ab-dirty"),
        ("unknown", "unknown"),
    ],
)
def test_a_commit_is_cut_and_keeps_what_was_changed(commit: str, text: str) -> None:
    assert commit_text(commit) == text


def test_large_numbers_have_no_powers_of_ten_but_counts_of_operations() -> None:
    assert number(1761.4) == "1761"
    assert operations(1.0612e11) == "1.06e11"


def test_one_is_no_plural() -> None:
    assert [counted(n, "test") for n in (0, 1, 2)] == ["0 tests", "1 test", "2 tests"]

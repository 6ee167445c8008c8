"""Rows in files: names come back, whatever characters Python counts as the end of a line."""

import pytest

from lrmzero_lite.evaluate.results import Row, read_rows, write_rows


@pytest.mark.parametrize("name", ["a\u2028b", "a\x85b", "a\x0bb", "a\nb", ' "a", b', "ü"])
def test_names_with_line_ends_come_back(tmp_path, name):
    """str.splitlines knows ten characters that end a line; of these CSV knows two, and not inside quotes."""
    rows = [Row(name, "s", "m", view, 0, 0, psnr=20.0) for view in (1, 2)]
    write_rows(tmp_path / "rows.csv", rows)
    assert read_rows(tmp_path / "rows.csv") == rows

"""A pytest plug-in for the notebook run: JSON outputs (plotly figures) pass through the same rules as text outputs.

nbval applies tests/nbval_sanitize.cfg to strings only. Used as `pytest -p nbval_portable --nbval ...`.
"""

import json

from nbval.plugin import IPyNbCell

sanitize_text = IPyNbCell.sanitize


def sanitize(cell, value):
    """Any output value as sanitized text; JSON is written with sorted keys first."""
    return sanitize_text(cell, json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list) else value)


def pytest_configure(config):
    IPyNbCell.sanitize = sanitize

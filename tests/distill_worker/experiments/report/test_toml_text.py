"""A configuration as TOML."""

import math
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from distill_worker.config.load import load_config
from distill_worker.experiments.report.toml_text import toml

_SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
_TABLES = st.recursive(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.one_of(_SCALARS, st.lists(_SCALARS))),
    lambda inner: st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.one_of(_SCALARS, inner, st.lists(inner, min_size=1))
    ),
    max_leaves=8,
)


@given(_TABLES)
def test_toml_is_read_as_the_same_values(values: dict[str, Any]) -> None:
    assert tomllib.loads(toml(values)) == values


def test_values_that_are_absent_are_left_out() -> None:
    assert toml({"a": None, "b": {"c": None, "d": math.inf}}) == "[b]\nd = inf\n"


def test_tables_beside_other_values_stand_in_their_line() -> None:
    """As the values of an axis of a sweep do, of which some are tables."""
    values = {"grid": {"a.b": ["plain", {"label": "x", "c d": [1, {"e": 2.5}]}]}}
    assert tomllib.loads(toml(values)) == values


def test_configuration_of_a_run_is_one_that_the_worker_reads(tmp_path: Path) -> None:
    """With the same identity, so the run that it begins is the same run."""
    file, again = tmp_path / "run.toml", tmp_path / "again.toml"
    file.write_text(
        '[data]\nname = "digits"\n[student]\nnetwork = "resnet8"\n[method]\nname = "ckd"\n[[plus]]\nname = "kd"\n'
        "[budget]\nn = 50\n[tuning]\n"
    )
    identity = load_config(file, ()).identity
    again.write_text(toml(identity.values))
    assert load_config(again, ()).identity == identity

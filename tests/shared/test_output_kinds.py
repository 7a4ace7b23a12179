"""Output kinds and their texts."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.output_kinds import OutputKind, most_informative

DIGITS = st.none() | st.integers(0, 8)
KINDS = st.one_of(
    st.sampled_from(["logits", "log_probabilities", "label"]).map(OutputKind),
    st.builds(OutputKind, st.just("probabilities"), digits=DIGITS),
    st.builds(OutputKind, st.just("top_k"), st.integers(1, 99_999), DIGITS),
    st.builds(OutputKind, st.text(min_size=1).map(lambda layer: f"features.{layer}")),
)
MOST_TELLING_FIRST = [
    "logits",
    "log_probabilities",
    "probabilities",
    "probabilities:6",
    "probabilities:0",
    "top_k:5",
    "top_k:5:2",
    "top_k:3",
    "top_k:3:8",
    "label",
]


@given(KINDS)
def test_text_says_all_of_a_kind(kind: OutputKind) -> None:
    assert OutputKind.parse(str(kind)) == kind


@pytest.mark.parametrize("text", [*MOST_TELLING_FIRST, "features.stage2", "features.block:0"])
def test_text_is_kept(text: str) -> None:
    assert str(OutputKind.parse(text)) == text


def test_equal_kinds_are_written_alike() -> None:
    """The text is a cache's key."""
    assert str(OutputKind.parse("top_k:05:02")) == "top_k:5:2"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "logit",
        "logits:3",
        "label:1",
        "log_probabilities:4",
        "probabilities:",
        "probabilities:-1",
        "probabilities:3:2",
        "probabilities:9",
        "probabilities:²",
        "top_k",
        "top_k:",
        "top_k:0",
        "top_k:3:2:1",
        "top_k:3:9",
        "top_k:9999999999",
        "features",
        "features.",
        " logits",
        "logits,label",
    ],
)
def test_anything_else_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected .*, got "):
        OutputKind.parse(text)


@given(st.text(max_size=30))
def test_no_text_does_worse_than_a_value_error(text: str) -> None:
    with suppress(ValueError):
        OutputKind.parse(text)


def test_kind_without_its_number_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'top_k'"):
        OutputKind("top_k")
    with pytest.raises(ValueError, match="got 'logits:3'"):
        OutputKind("logits", k=3)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("logits", (10,)),
        ("log_probabilities", (10,)),
        ("probabilities:3", (10,)),
        ("top_k:3:2", (3, 2)),
        ("top_k:50", (10, 2)),
        ("label", (1,)),
    ],
)
def test_shape_of_one_sample(text: str, shape: tuple[int, ...]) -> None:
    """There are no more best classes than classes."""
    assert OutputKind.parse(text).shape(10) == shape


def test_features_are_no_distribution() -> None:
    kind = OutputKind.parse("features.stage2")
    assert kind.is_features
    with pytest.raises(ValueError, match=r"expected a distribution .*, got 'features.stage2'"):
        kind.shape(10)
    with pytest.raises(ValueError, match=r"expected a distribution, got 'features.stage2'"):
        assert kind.information


def test_kinds_are_ordered_by_what_they_tell() -> None:
    told = [OutputKind.parse(text).information for text in MOST_TELLING_FIRST]
    assert told == sorted(set(told), reverse=True)


@pytest.mark.parametrize("first", range(len(MOST_TELLING_FIRST)))
def test_most_telling_is_chosen(first: int) -> None:
    """Whatever the order of the offer, and whatever is offered besides."""
    offered = MOST_TELLING_FIRST[first:]
    assert most_informative(["features.stage2", "embedding", *reversed(offered)]) == offered[0]


def test_nothing_to_choose_is_none() -> None:
    assert most_informative(["features.stage2", "embedding"]) is None

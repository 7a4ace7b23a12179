"""What a key may see, as it is written down."""

import pytest

from teacher_service.policy.output_policy import LOGITS_ALONE, OutputPolicy


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("logits", "logits"),
        ("label, top_k:5 ,probabilities:3", "probabilities:3,top_k:5,label"),
        ("top_k:10:2", "top_k:10:2"),
        ("features,logits", "logits,features"),
        ("features.b,features.a", "features.a,features.b"),
        ("features.b,features", "features"),
        ("log_probabilities,probabilities:0", "log_probabilities,probabilities:0"),
    ],
)
def test_text_has_one_canonical_form(text: str, canonical: str) -> None:
    assert str(OutputPolicy.parse(text)) == canonical
    assert OutputPolicy.parse(canonical) == OutputPolicy.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "logits,logits",
        "Logits",
        "logits:3",
        "probabilities:9",
        "probabilities:-1",
        "probabilities:1:2",
        "top_k",
        "top_k:0",
        "top_k:1:2:3",
        "top_k:x",
        "top_k:²",
        "label:1",
        "features:1",
        "features.",
        "features,features",
        "features.block1:3",
        "features.:",
        "a,b",
    ],
)
def test_anything_else_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"^outputs: expected "):
        OutputPolicy.parse(text)


def test_only_what_is_listed_may_be_seen() -> None:
    policy = OutputPolicy.parse("top_k:2,features.layer1")
    seen = {"top_k", "top_k_indices", "features.layer1"}
    others = {"logits", "log_probabilities", "probabilities", "label", "features.layer2", "features", "shape"}
    assert {output for output in seen | others if policy.sees(output)} == seen
    assert OutputPolicy.parse("features").sees("features.layer2")
    assert not LOGITS_ALONE.sees("features.layer2")


def test_default_is_the_most_telling_kind() -> None:
    assert OutputPolicy.parse("label,probabilities").default == ("probabilities",)
    assert OutputPolicy.parse("label,top_k:3").default == ("top_k",)
    assert OutputPolicy.parse("features").default == ()
    assert LOGITS_ALONE.default == ("logits",)

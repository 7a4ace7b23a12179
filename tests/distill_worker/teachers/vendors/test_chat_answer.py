"""What a chat completion says, and how likely the other labels were: worked out by hand."""

import json
from math import exp, log
from typing import Any

import pytest

from distill_worker.teachers.vendors.chat_answer import choice_of

LETTERS = {"A": "cat", "B": "dog", "C": "newt"}


def _completion(text: Any, *tokens: dict[str, float], **message: Any) -> bytes:
    """A completion whose first token of each list is the one that was chosen; values are probabilities."""
    stated = [
        {"token": next(iter(token)), "logprob": log(next(iter(token.values()))), "top_logprobs": _listed(token)}
        for token in tokens
    ]
    choice = {"message": {"content": text, **message}, "logprobs": {"content": stated} if tokens else None}
    return json.dumps({"choices": [choice]}).encode()


def _listed(token: dict[str, float]) -> list[dict[str, Any]]:
    return [{"token": text, "logprob": log(value)} for text, value in token.items()]


@pytest.mark.parametrize(
    "said",
    ["B", "b", " B.", "**B**", "(B)", "B: dog", "b) Dog.", "B - dog", "dog", "Dog.", "“dog”", "<think>A?</think>\nB"],
)
def test_answer_is_a_letter_or_its_label(said: str) -> None:
    assert choice_of(_completion(said)).answered(LETTERS).label == "dog"


@pytest.mark.parametrize("said", ["", "D", "A dog", "a cat", "B: cat", "cat or dog", "I cannot say.", "<think>B"])
def test_answer_that_is_no_label_is_not_guessed(said: str) -> None:
    with pytest.raises(ValueError, match="expected one of A, B, C as the answer, got"):
        choice_of(_completion(said)).answered(LETTERS)


def test_labels_with_signs_and_of_two_cases_are_read_as_they_are_written() -> None:
    answers = {label: label for label in ("cat (wild)", "Polish", "polish")}
    assert choice_of(_completion("cat (wild)")).answered(answers).label == "cat (wild)"
    assert choice_of(_completion("polish.")).answered(answers).label == "polish"
    with pytest.raises(ValueError, match="POLISH"):
        choice_of(_completion("POLISH")).answered(answers)


def test_probabilities_are_those_of_the_letters_alone() -> None:
    """Spellings of one letter add up; what is no letter counts for none; the letters' sum becomes 1."""
    completion = _completion("B", {"B": 0.5, " B": 0.1, "A": 0.15, "c": 0.05, "The": 0.2})
    assert choice_of(completion).probabilities(LETTERS) == pytest.approx({"dog": 0.75, "cat": 0.1875, "newt": 0.0625})


def test_tokens_of_one_text_add_up() -> None:
    """As a server writes tokens that differ by a leading blank alone."""
    completion = json.loads(_completion("B", {"B": 0.9}))
    listed = [{"token": text, "logprob": log(value)} for text, value in (("B", 0.9), ("A", 0.05), ("B", 0.05))]
    completion["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = listed
    found = choice_of(json.dumps(completion).encode()).probabilities(LETTERS)
    assert found == pytest.approx({"dog": 0.95, "cat": 0.05, "newt": 0}, abs=1e-9)


@pytest.mark.parametrize(
    ("tokens", "masses"),
    [
        ({"A": 0.9, "I": 0.06}, (0.9, 0.02, 0.02)),
        ({"A": 0.3, "The": 0.1, "B": 0.05}, (0.3, 0.05, 0.05)),
        ({"A": 0.9, "B": 1e-4}, (0.9, 1e-4, 1e-4)),
    ],
)
def test_letters_that_are_not_listed_share_what_is_left_up_to_the_least_that_is(
    tokens: dict[str, float], masses: tuple[float, ...]
) -> None:
    """A likelier one would have been listed."""
    found = choice_of(_completion("A", tokens)).probabilities(LETTERS)
    assert list(found.values()) == pytest.approx([mass / sum(masses) for mass in masses])


def test_one_token_says_nothing_of_the_others() -> None:
    with pytest.raises(ValueError, match=r"of two tokens or more .*, got 1; set teacher\.top_logprobs"):
        choice_of(_completion("A", {"A": 0.45})).probabilities(LETTERS)


def test_letters_in_what_was_thought_aloud_do_not_count() -> None:
    """Some servers list its tokens too, and one for the end."""
    thought = [{"I": 0.9, "A": 0.1}, {" see": 1.0}, {" a": 0.6, " b": 0.4}, {"</think>": 1.0}]
    completion = _completion("B", *thought, {"B": 0.75, "A": 0.25}, {"<|im_end|>": 1.0})
    assert choice_of(completion).probabilities(LETTERS) == pytest.approx({"dog": 0.75, "cat": 0.25, "newt": 0.0})


def test_label_that_begins_with_a_letter_is_not_its_letter() -> None:
    letters = {"A": "ape", "B": "cat", "C": "bird"}
    completion = _completion("Bird", {"B": 0.5, "C": 0.4}, {"ird": 1.0})
    assert choice_of(completion).answered(letters).label == "bird"
    with pytest.raises(ValueError, match="expected the letter of 'bird', got 'Bird'"):
        choice_of(completion).probabilities(letters)


def test_answer_that_was_cut_is_not_taken_for_a_shorter_label() -> None:
    answers = {"golden": "golden", "golden retriever": "golden retriever"}
    completion = json.loads(_completion("golden"))
    completion["choices"][0]["finish_reason"] = "length"
    with pytest.raises(ValueError, match=r"finish_reason: length.: raise the limit of tokens in teacher\.parameters"):
        choice_of(json.dumps(completion).encode()).answered(answers)


def test_label_is_read_whatever_the_log_probabilities_are() -> None:
    completion = {
        "choices": [{"message": {"content": "B"}, "logprobs": {"content": [{"token": "B", "logprob": None}]}}]
    }
    choice = choice_of(json.dumps(completion).encode())
    assert choice.answered(LETTERS).label == "dog"
    with pytest.raises(ValueError, match=r"expected a logprob of 0 or less, got null; .*teacher\.output"):
        choice.probabilities(LETTERS)


def test_token_of_the_answer_counts_not_one_before_it() -> None:
    completion = _completion("**B**", {"**": 0.9, "A": 0.1}, {"B": 0.75, "A": 0.25}, {"**": 1.0})
    assert choice_of(completion).probabilities(LETTERS) == pytest.approx({"dog": 0.75, "cat": 0.25, "newt": 0.0})


def test_certain_answer_leaves_nothing() -> None:
    completion = json.loads(_completion("A", {"A": 1.0, "B": 0.1, "C": 0.1}))
    listed = [{"token": "A", "logprob": 1e-7}, {"token": "B", "logprob": -9999}]  # rounded up, and as good as never
    completion["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = listed
    found = choice_of(json.dumps(completion).encode()).probabilities(LETTERS)
    assert found == {"cat": 1.0, "dog": 0.0, "newt": 0.0}


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (b"{}", "expected a text at choices"),
        (b'{"choices": []}', "expected a text at choices"),
        (b"[1]", "expected a text at choices"),
        (_completion(None, refusal="I can't help with that."), "got null .refusal: \"I can't help"),
        (_completion(3), "got 3"),
    ],
)
def test_completion_without_a_text_says_what_was_expected(content: bytes, because: str) -> None:
    with pytest.raises(ValueError, match=because):
        choice_of(content)


def test_answer_without_log_probabilities_names_the_setting() -> None:
    with pytest.raises(ValueError, match=r'set teacher\.output = "label"'):
        choice_of(_completion("A")).probabilities(LETTERS)


def test_label_in_place_of_its_letter_has_no_probabilities() -> None:
    with pytest.raises(ValueError, match="expected the letter of 'dog', got 'dog'"):
        choice_of(_completion("dog", {"dog": 0.9, "cat": 0.1})).probabilities(LETTERS)


@pytest.mark.parametrize(
    "token",
    [3, {"token": "A"}, {"token": 3, "logprob": -1}, {"token": "A", "logprob": "-1"}, {"token": "A", "logprob": 0.5}],
)
def test_token_of_another_shape_is_an_error(token: Any) -> None:
    completion = json.dumps({"choices": [{"message": {"content": "A"}, "logprobs": {"content": [token]}}]})
    with pytest.raises(ValueError, match=r"expected a (token|logprob)"):
        choice_of(completion.encode()).probabilities(LETTERS)


def test_probabilities_add_up_to_1() -> None:
    found = choice_of(_completion("C", {"C": exp(-0.3), "B": exp(-2.0)})).probabilities(LETTERS)
    assert sum(found.values()) == pytest.approx(1)

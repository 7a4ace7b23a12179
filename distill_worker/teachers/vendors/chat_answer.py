"""What a chat completion says: the answer that it chose, and how likely each of the others was."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any, Final

_AROUND: Final = " \t\r\n\"'`*_.:;,()[]"
"""What may stand around an answer without changing it."""
_SHOWN: Final = 60


@dataclass(frozen=True)
class _Token:
    text: str
    others: Mapping[str, float]
    """The log-probability of each token that could have stood here, itself among them."""


@dataclass(frozen=True)
class Choice:
    """The first choice of a chat completion."""

    text: str
    tokens: Sequence[_Token]
    """Of the answer, in their order; empty if the completion has no log-probabilities."""

    def label(self, answers: Mapping[str, str]) -> str:
        """The label that was answered, alone or as its letter; both may stand together, as in `B: dog`.

        Args:
            answers: the label of each answer that was asked for: of a letter, or of itself.

        Raises:
            ValueError: it says something else.
        """
        said = self.text.strip(_AROUND)
        first, _, rest = (part.strip(_AROUND) for part in said.partition(":"))
        if rest and answers.get(first) == rest:
            return rest
        for known in (answers, {label: label for label in answers.values()}):
            for fold in (str, str.casefold):
                alike = [label for answer, label in known.items() if fold(answer.strip(_AROUND)) == fold(said)]
                if len(alike) == 1:
                    return alike[0]
        raise ValueError(f"expected one of {_few(answers)} as the answer, got {self.text[:_SHOWN]!r}")

    def probabilities(self, letters: Mapping[str, str]) -> dict[str, float]:
        """The probability of each label: that of its letter among the tokens that could have stood for the answer.

        Letters that are not among them share equally what the stated tokens leave. The probabilities add up to 1.

        Args:
            letters: the label of each letter.

        Raises:
            ValueError: no token of the answer is a letter, or no log-probabilities are stated.
        """
        answered = self.label(letters)
        if not self.tokens:
            raise ValueError(
                "expected log-probabilities at choices[0].logprobs.content, got none; if this API has none, set "
                'teacher.output = "label"'
            )
        place = next(
            (token for token in self.tokens if letters.get(_letter(token.text, letters) or "") == answered), None
        )
        if place is None:
            raise ValueError(
                f"expected the letter of {answered!r} as a token of the answer, got {self.text[:_SHOWN]!r}"
            )
        found: dict[str, float] = {}
        for text, value in place.others.items():
            if (letter := _letter(text, letters)) is not None:
                found[letter] = found.get(letter, 0.0) + exp(value)
        absent = [letter for letter in letters if letter not in found]
        left = max(0.0, 1 - sum(map(exp, place.others.values())))
        found |= dict.fromkeys(absent, left / max(1, len(absent)))
        total = sum(found.values())
        return {letters[letter]: mass / total for letter, mass in found.items()}


def choice_of(content: bytes) -> Choice:
    """The first choice of a chat completion, JSON. Raises `ValueError` if it has none."""
    answer = json.loads(content)
    try:
        choice = answer["choices"][0]
        text = choice["message"]["content"]
    except (LookupError, TypeError) as error:
        raise ValueError("expected a text at choices[0].message.content, got none") from error
    if not isinstance(text, str):
        refusal = choice["message"].get("refusal")
        because = f" (refusal: {refusal[:_SHOWN]!r})" if isinstance(refusal, str) else ""
        got = json.dumps(text)[:_SHOWN]
        raise ValueError(f"expected a text at choices[0].message.content, got {got}{because}")  # noqa: TRY004 as others
    stated = choice.get("logprobs") or {}
    tokens = stated.get("content") if isinstance(stated, dict) else None
    return Choice(text, [_token(token) for token in tokens or []])


def _token(stated: Any) -> _Token:
    try:
        alike = [stated, *(stated.get("top_logprobs") or [])]
        others = {_text(one["token"]): _log_probability(one["logprob"]) for one in alike}
        return _Token(_text(stated["token"]), others)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"expected a token with its logprob and top_logprobs, got {json.dumps(stated)[:_SHOWN]}"
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r}")
    return value


def _log_probability(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not value <= 1e-3:  # the last digits of a certain one may be rounded up
        raise ValueError(f"expected a logprob of 0 or less, got {json.dumps(value)[:_SHOWN]}")
    return min(0.0, float(value))


def _letter(token: str, letters: Mapping[str, str]) -> str | None:
    """The letter that a token is, in upper or lower case."""
    text = token.strip(_AROUND).upper()
    return text if text in letters else None


def _few(answers: Mapping[str, str]) -> str:
    names = list(answers)
    return ", ".join(names if len(names) <= 8 else [*names[:6], "...", names[-1]])

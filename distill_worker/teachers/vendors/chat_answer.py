"""What a chat completion says: the answer that it chose, and how likely each of the others was."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any, Final

from distill_worker.config.answers.label_text import plain

_THOUGHT: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
"""What some models think aloud before they answer."""
_BOTH: Final = re.compile(r"\A(?P<letter>\w)\s*[.):-]+\s*(?P<label>.+)\Z", re.DOTALL)
_SHOWN: Final = 60
_OR_LABEL: Final = 'to buy the labels alone, set teacher.output = "label", which reads what was paid again'


@dataclass(frozen=True)
class Answered:
    """The label that was answered."""

    label: str
    letter: str | None
    """Its letter, if the answer begins with it."""


@dataclass(frozen=True)
class Choice:
    """The first choice of a chat completion."""

    text: str
    """Without what it thought aloud."""
    finish: str
    """Why it ended, as the server names it; empty if it does not say so."""
    tokens: Any
    """The stated log-probabilities, not looked at yet."""

    def answered(self, answers: Mapping[str, str]) -> Answered:
        """The label that was answered, alone or as its letter; both may stand together, as in `B: dog`.

        Args:
            answers: the label of each answer that was asked for: of a letter, or of itself.

        Raises:
            ValueError: it says something else, or was cut.
        """
        said = plain(self.text)
        if (both := _BOTH.match(said)) is not None:
            letter, label = both["letter"].upper(), answers.get(both["letter"].upper())
            if label is not None and letter != label and plain(label).casefold() == plain(both["label"]).casefold():
                return Answered(label, letter)
        for fold in (str, str.casefold):
            letters = [answer for answer, label in answers.items() if answer != label and fold(answer) == fold(said)]
            if len(letters) == 1:
                return Answered(answers[letters[0]], letters[0])
            labels = [label for label in answers.values() if fold(plain(label)) == fold(said)]
            if len(labels) == 1 and self.finish != "length":
                return Answered(labels[0], None)
        ended = f" (finish_reason: {self.finish})" if self.finish not in ("", "stop") else ""
        advice = ": raise the limit of tokens in teacher.parameters" if self.finish == "length" else ""
        raise ValueError(f"expected one of {_few(answers)} as the answer, got {self.text[:_SHOWN]!r}{ended}{advice}")

    def probabilities(self, letters: Mapping[str, str]) -> dict[str, float]:
        """The probability of each label: that of its letter among the tokens that could have stood for the answer.

        Letters that are not among them share equally what the stated tokens leave, but none gets more than the least
        likely stated token: the server would have stated it. The probabilities add up to 1.

        Args:
            letters: the label of each letter.

        Raises:
            ValueError: the answer does not begin with a letter, or its log-probabilities do not say enough.
        """
        answered = self.answered(letters)
        if answered.letter is None:
            raise ValueError(f"expected the letter of {answered.label!r}, got {self.text[:_SHOWN]!r}; {_OR_LABEL}")
        stated = self._alternatives(answered.letter)
        masses = dict.fromkeys(letters, 0.0)
        listed = {letter for text, _ in stated if (letter := plain(text).upper()) in letters}
        for text, probability in stated:
            if (letter := plain(text).upper()) in letters:
                masses[letter] += probability
        absent = [letter for letter in letters if letter not in listed]
        if absent and len(stated) < 2:
            raise ValueError(
                f"expected the log-probabilities of two tokens or more in place of the answer, got {len(stated)}; set "
                f"teacher.top_logprobs, or, {_OR_LABEL}"
            )
        if absent:
            left = max(0.0, 1 - sum(probability for _, probability in stated)) / len(absent)
            masses |= dict.fromkeys(absent, min(left, min(probability for _, probability in stated)))
        total = sum(masses.values())
        if total <= 0:
            raise ValueError(f"expected a probability for some label, got none; {_OR_LABEL}")
        return {letters[letter]: mass / total for letter, mass in masses.items()}

    def _alternatives(self, letter: str) -> list[tuple[str, float]]:
        """The tokens that could have stood in place of the answered letter, each with its probability."""
        if not isinstance(self.tokens, list) or not self.tokens:
            raise ValueError(f"expected log-probabilities at choices[0].logprobs.content, got none; {_OR_LABEL}")
        texts = [_text(token) for token in self.tokens]
        begin = _begin_of(self.text, texts)
        place = next((place for place in range(begin, len(texts)) if plain(texts[place])), None)
        if place is None or plain(texts[place]).upper() != letter:
            raise ValueError(f"expected {letter!r} as the first token of the answer, got {texts[:8]}; {_OR_LABEL}")
        token = self.tokens[place]
        others = token.get("top_logprobs") or []
        if not isinstance(others, list):
            got = json.dumps(others)[:_SHOWN]
            raise ValueError(f"expected a list at top_logprobs, got {got}; {_OR_LABEL}")  # noqa: TRY004 as others
        if texts[place] not in [_text(other) for other in others]:
            others = [token, *others]
        return [(_text(other), _probability(other)) for other in others]


def choice_of(content: bytes) -> Choice:
    """The first choice of a chat completion, JSON. Raises `ValueError` if it has none."""
    answer = json.loads(content)
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text, finish = message["content"], choice.get("finish_reason")
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError("expected a text at choices[0].message.content, got none") from error
    if not isinstance(text, str):
        refusal = message.get("refusal")
        because = f" (refusal: {refusal[:_SHOWN]!r})" if isinstance(refusal, str) else ""
        got = json.dumps(text)[:_SHOWN]
        raise ValueError(f"expected a text at choices[0].message.content, got {got}{because}")  # noqa: TRY004 as others
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    return Choice(_THOUGHT.sub("", text), finish if isinstance(finish, str) else "", tokens)


def _begin_of(text: str, tokens: Sequence[str]) -> int:
    """The token with which a text begins: the last one from which on the tokens hold all of it, whatever the blanks.

    Before it, there may be what the model thought; after the text, the sign of its end.
    """
    wanted = "".join(text.split())
    held = ""
    for place in range(len(tokens) - 1, -1, -1):
        held = "".join(tokens[place].split()) + held
        if wanted in held:
            return place
    return len(tokens)


def _text(token: Any) -> str:
    text = token.get("token") if isinstance(token, dict) else None
    if not isinstance(text, str):
        got = json.dumps(token)[:_SHOWN]
        raise ValueError(f"expected a token with its logprob, got {got}; {_OR_LABEL}")  # noqa: TRY004 as others
    return text


def _probability(token: Mapping[str, Any]) -> float:
    value = token.get("logprob")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or not is_number or not value <= 1e-3:  # the last digits of a certain one may be rounded up
        raise ValueError(f"expected a logprob of 0 or less, got {json.dumps(value)[:_SHOWN]}; {_OR_LABEL}")
    return exp(min(0.0, float(value)))


def _few(answers: Mapping[str, str]) -> str:
    names = list(answers)
    return ", ".join(names if len(names) <= 8 else [*names[:6], "...", names[-1]])

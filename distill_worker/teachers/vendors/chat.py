"""A model that chats about images, behind the API of chat completions, which many vendors and local servers have.

    POST <url>/chat/completions  {"model": ..., "messages": [the prompt and the image], "logprobs": true, ...}
    ->  {"model": ..., "choices": [{"message": {"content": "B"}, "logprobs": {"content": [...]}}]}

The prompt lists the labels. With up to 26 of them each has a letter, and the model answers with a letter, which is one
token: the log-probabilities of the tokens that could have stood in its place are those of the labels. It then sells
`top_k:K`, where K is the number of labels, or `teacher.top_k` if that is smaller, and `label`. It sells `label` alone
with more labels, with labels of one character, which a letter could be taken for, and with `top_logprobs = 0`.

Source: OpenAI, API reference, "Create chat completion"; vLLM and Ollama answer alike.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from string import ascii_uppercase
from typing import Any, Final

import httpx

from distill_worker.config.answers.label_text import plain
from distill_worker.errors import TeacherRefused
from distill_worker.teachers.http_errors import status_of
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.vendors.chat_answer import choice_of
from distill_worker.teachers.vendors.one_image import OneImageTeacher, Vendor
from shared.output_kinds import LABEL, TOP_K, OutputKind

LABELS: Final = "{labels}"
"""Where the labels stand in a prompt."""
_PATH: Final = "/chat/completions"
_BAD_REQUEST: Final = 400
_ADVICE: Final = (
    "if it does not take log-probabilities, set teacher.top_logprobs = 0, or to its limit; if it does not take another "
    "field, set teacher.parameters"
)
_BY_LETTER: Final = "Answer with the letter of one of these labels, and nothing else:\n"
_BY_LABEL: Final = "Answer with one of these labels, and nothing else:\n"


class ChatTeacher(OneImageTeacher):
    """A client of one model."""

    def __init__(
        self,
        sender: Sender,
        vendor: Vendor,
        *,
        prompt: str,
        top_k: int = 26,
        top_logprobs: int = 20,
        detail: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """A client of this model.

        Args:
            sender: sends the requests.
            vendor: what is configured; its URL may lack `/chat/completions`.
            prompt: what is asked of each image; the labels stand at `{labels}` in it.
            top_k: the number of labels that are bought of each answer.
            top_logprobs: the number of tokens whose log-probabilities are asked for; 0 asks for none.
            detail: how closely the model looks at the image, where the API has this setting.
            parameters: further fields of the request.
        """
        vendor = _named_as_answered(_with_path(vendor))
        named = sorted(vendor.labels, key=lambda label: vendor.labels[label])
        has_letters = len(named) <= len(ascii_uppercase) and not any(len(plain(label)) == 1 for label in named)
        self._answers = dict(zip(ascii_uppercase if has_letters else named, named, strict=False))
        """The label of each answer that is asked for: of a letter, or of itself."""
        self._text = prompt.replace(LABELS, _listed(self._answers, has_letters=has_letters))
        self._detail = {} if detail is None else {"detail": detail}
        has_scores = has_letters and top_logprobs > 0
        self._fields = {
            "model": vendor.model,
            **({"logprobs": True, "top_logprobs": top_logprobs} if has_scores else {}),
            **(parameters or {}),
        }
        kinds = [OutputKind(TOP_K, min(top_k, len(named)))] if has_scores else []
        asked = json.dumps([self._text, self._detail, self._fields], sort_keys=True)
        super().__init__(
            sender, vendor, [*kinds, OutputKind(LABEL)], asked=f"/asked-{sha256(asked.encode()).hexdigest()[:12]}"
        )

    def _request(self, image: bytes, media_type: str) -> tuple[bytes, str]:
        url = f"data:{media_type};base64,{b64encode(image).decode()}"
        parts = [
            {"type": "text", "text": self._text},
            {"type": "image_url", "image_url": {"url": url, **self._detail}},
        ]
        body = {**self._fields, "messages": [{"role": "user", "content": parts}]}
        return json.dumps(body).encode(), "application/json"

    def _remedy(self, error: TeacherRefused) -> str:
        return _ADVICE if status_of(error) == _BAD_REQUEST else ""

    def _scores(self, content: bytes, kind: OutputKind) -> Mapping[int, float]:
        choice = choice_of(content)
        if kind.name == LABEL:
            return {self._vendor.labels[choice.answered(self._answers).label]: 1.0}
        of_labels = choice.probabilities(self._answers)
        return {self._vendor.labels[label]: probability for label, probability in of_labels.items()}

    def _answered_version(self, headers: Mapping[str, str], content: bytes) -> str | None:  # noqa: ARG002
        """The model that answered, if it is not called as the one that was asked."""
        try:
            answered = json.loads(content)["model"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
        is_another = isinstance(answered, str) and answered not in ("", self._vendor.model)
        return _one_part(answered) if is_another else None


def _with_path(vendor: Vendor) -> Vendor:
    """The vendor with the whole URL of chat completions: many state it without the last part."""
    url = httpx.URL(vendor.url)
    path = url.path.rstrip("/")
    return replace(vendor, url=str(url.copy_with(path=path if path.endswith(_PATH) else path + _PATH)))


def _named_as_answered(vendor: Vendor) -> Vendor:
    """The vendor whose version, if there is one, is written as that of an answer."""
    version = vendor.model_version
    return vendor if version is None else replace(vendor, model_version=_one_part(version))


def _one_part(version: str) -> str:
    """A version as one part of a teacher's name."""
    return version.replace("/", ":")


def _listed(answers: Mapping[str, str], *, has_letters: bool) -> str:
    """The labels as the prompt lists them, with what to answer."""
    lines = [f"{answer}: {label}" for answer, label in answers.items()] if has_letters else list(answers)
    return (_BY_LETTER if has_letters else _BY_LABEL) + "\n".join(lines)

"""The `[teacher]` section: where outputs are bought, in which protocol, how fast and at what price.

Each protocol has a class with its own settings; `protocol` chooses among them. To add a protocol, add its class here
and to `TeacherAddress`, its client in `teachers/`, and its case in `teachers/open_teacher.py`.
"""

import json
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, field_validator, model_validator

from distill_worker.config.answers.answer_path import AnswerFields
from distill_worker.config.answers.label_text import plain
from distill_worker.config.section import ImageSize, Section
from shared.expectations import did_you_mean
from shared.output_kinds import AUTO, DISTRIBUTIONS, OutputKind

NOT_IN_DESCRIPTION: Final = "not in description"
"""Marks a setting that no part of a teacher's description depends on. A stored description is valid only under equal
values of all other settings, so a setting without this mark is safe but may cost one more free request. `url` and
`model` do identify a teacher: they have the mark because `buying/known_teachers.py` names them itself."""


class _Address(Section):
    """The settings of every protocol."""

    url: Annotated[str, NOT_IN_DESCRIPTION] = "http://127.0.0.1:8000"
    """The server's URL; for `labelled-scores`, the URL that images are posted to; for `chat`, such as
    https://vendor.example/v1. TEACHER_URL in the environment overrides it."""
    model: Annotated[str, NOT_IN_DESCRIPTION] = "teacher"
    """The model's name on the server."""
    output: Annotated[str, NOT_IN_DESCRIPTION] = "auto"
    """The output to buy in place of logits: `logits`, `log_probabilities`, `probabilities[:digits]`,
    `top_k:k[:digits]` or `label`. `auto` is the most informative one that the teacher sells (docs/outputs.md)."""
    label_smoothing: Annotated[float, NOT_IN_DESCRIPTION] = Field(default=0.1, gt=0, lt=0.5)
    """For the output `label`: the probability that all other classes share."""
    model_version: str | None = Field(default=None, min_length=1)
    """The version to buy from, one of those that the server lists; default: the latest. For a teacher that states no
    version before it is paid, the name of its version."""
    num_classes: int | None = Field(default=None, ge=2)
    """The number of classes, for a teacher that does not state it."""
    request_size: Annotated[int, NOT_IN_DESCRIPTION] = Field(default=32, ge=1)
    """Samples in a request, at most; a teacher may set a lower limit."""
    concurrency: Annotated[int, NOT_IN_DESCRIPTION] = Field(default=16, ge=1, le=64)
    """Requests in flight at once, at most. The worker adapts the actual number to how the teacher responds."""
    timeout_seconds: Annotated[float, NOT_IN_DESCRIPTION] = Field(default=60, gt=0)
    """How long one attempt of a request may take."""
    give_up_after_seconds: Annotated[float, NOT_IN_DESCRIPTION] = Field(default=120, ge=0)
    """How long one request is retried after transient failures."""
    repeats_are_free: bool | None = None
    """Whether the teacher charges once for requests with the same Idempotency-Key. Default: what the teacher states."""
    price_per_call: Annotated[float | None, NOT_IN_DESCRIPTION] = Field(default=None, ge=0)
    """The price of the answer for one sample, in `currency`."""
    currency: Annotated[str, NOT_IN_DESCRIPTION] = Field(default="USD", min_length=1, max_length=8)
    """The currency of the price, as it is shown."""
    expect_agreement: Annotated[bool, NOT_IN_DESCRIPTION] = True
    """Whether a purchase stops when the teacher agrees with the labels of the data no more often than by chance
    (docs/classes.md)."""

    @field_validator("url")
    @classmethod
    def _is_of_http(cls, url: str) -> str:
        url = url.strip()
        if not url.startswith(("http://", "https://")):
            raise ValueError("expected a URL that begins with http:// or https://")
        return url

    @field_validator("output")
    @classmethod
    def _is_a_distribution(cls, output: str) -> str:
        if output == AUTO:
            return output
        try:
            kind = OutputKind.parse(output)
        except ValueError as error:
            hint = did_you_mean(output.partition(":")[0], (AUTO, *DISTRIBUTIONS))
            raise ValueError(f"{error}{hint}") from error
        if kind.is_features:
            raise ValueError("expected a distribution; the method sets which features are bought")
        return str(kind)

    @property
    def description_settings(self) -> dict[str, Any]:
        """The settings that the teacher's description may depend on, by name; JSON-able."""
        named = {
            name
            for name, field in type(self).model_fields.items()
            if name != "protocol" and NOT_IN_DESCRIPTION not in field.metadata
        }
        return self.model_dump(mode="json", include=named)


class OpenInferenceAddress(_Address):
    """A teacher behind the Open Inference Protocol v2: our service, Triton, KServe."""

    protocol: Literal["open-inference"] = "open-inference"
    """The default."""
    binary: Annotated[bool, NOT_IN_DESCRIPTION] = True
    """Whether images are sent in binary to a server that supports it; otherwise as JSON."""
    input_name: str = "images"
    """The tensor that takes the images."""
    output_name: str = "logits"
    """The tensor that holds the logits."""
    class_names: Annotated[tuple[str, ...], NOT_IN_DESCRIPTION] = ()
    """The names of the teacher's classes in its own order, in place of those that it states."""


class VendorAddress(_Address):
    """A teacher that takes one image in a request, and states nothing before it is paid."""

    labels: dict[str, Annotated[int, Field(ge=0)]] = Field(default={})
    """The class, counted from 0, of each label that the teacher may answer."""
    top_k: int = Field(default=5, ge=1)
    """The number of labels that are bought of an answer, at most all."""
    send: Literal["auto", "file", "pixels"] = "auto"
    """The image that is sent: `file`, your own file as it is; or `pixels`, the data set's pixels as PNG, which the
    student sees too. `auto` is `file` if the data set has files (image-folder, hugging-face). Images without a file,
    such as mixtures, are sent as PNG."""
    image_size: ImageSize | None = None
    """Height and width that the sent image is resized to; it is then sent as PNG. Default: it is not resized."""

    @property
    def description_settings(self) -> dict[str, Any]:
        """See `_Address`. Settings that are new count only if they change something, so that old descriptions load."""
        settings = super().description_settings
        plain = {"answer": AnswerFields().model_dump(mode="json"), "send": "auto", "image_size": None}
        return {name: value for name, value in settings.items() if name not in plain or value != plain[name]}

    @model_validator(mode="after")
    def _each_label_has_its_class(self) -> Self:
        if not self.labels:
            raise ValueError("labels: expected the class of each label that the teacher may answer, got none")
        if len(set(self.labels.values())) < len(self.labels):
            raise ValueError("labels: expected a class of its own for each label, got one class for several labels")
        return self


class LabelledScoresAddress(VendorAddress):
    """A teacher that takes one image file in a request and answers with the most likely labels and their scores."""

    protocol: Literal["labelled-scores"] = "labelled-scores"
    """Required for such a teacher ([vendors.md](vendors.md))."""
    score_digits: int | None = Field(default=None, ge=0, le=8)
    """The digits after the point that scores are rounded to, if known."""
    answer: AnswerFields = AnswerFields()
    """Where labels and scores stand in the answer."""


class ChatAddress(VendorAddress):
    """A model that answers questions about an image, behind the API `chat/completions`."""

    protocol: Literal["chat"] = "chat"
    """Required for such a teacher ([chat.md](chat.md))."""
    top_k: int = Field(default=26, ge=1)
    """The number of labels that are bought of an answer, at most all."""
    prompt: str = "What does the image show? {labels}"
    """The question about each image. The labels, and how to answer, stand at `{labels}` in it."""
    top_logprobs: int = Field(default=20, ge=0, le=100)
    """The number of tokens whose log-probabilities are requested, from which those of the labels are read: 2 or more.
    0: none, for an API that has none; the teacher then sells `label` alone."""
    detail: Literal["auto", "low", "high"] | None = None
    """How closely the model looks at the image, where the API has this setting; `low` is cheaper. Default: not sent."""
    parameters: dict[str, Any] = Field(default={"temperature": 0, "max_tokens": 16})
    """Further fields of each request. Default: `{temperature = 0, max_tokens = 16}`."""

    @field_validator("prompt")
    @classmethod
    def _has_labels(cls, prompt: str) -> str:
        if "{labels}" not in prompt:
            raise ValueError("expected a text with {labels}, which is replaced by the labels")
        return prompt

    @field_validator("labels")
    @classmethod
    def _can_be_answered(cls, labels: dict[str, int]) -> dict[str, int]:
        """A label that cannot be told from another one in the answer would be paid for and never read."""
        texts = [plain(label) for label in labels]
        if bad := [label for label in labels if not plain(label) or len(label.splitlines()) > 1]:
            raise ValueError(f"expected labels of one line with a letter or digit, got {bad[0]!r}")
        if twice := [text for text in texts if texts.count(text) > 1]:
            raise ValueError(f"expected labels that differ in more than the signs around them, got {twice[0]!r} twice")
        return labels

    @field_validator("top_logprobs")
    @classmethod
    def _has_another(cls, number: int) -> int:
        if number == 1:
            raise ValueError("expected 0, or 2 or more, as one token says nothing of the other labels, got 1")
        return number

    @field_validator("parameters")
    @classmethod
    def _are_further_ones(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(parameters, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected values that JSON has, got one that it has not ({error})") from error
        if taken := [name for name in _SET_BY_OTHER_KEYS if name in parameters]:
            raise ValueError(f"expected further fields of the request, got {taken[0]}, {_SET_BY_OTHER_KEYS[taken[0]]}")
        return parameters

    @model_validator(mode="after")
    def _names_its_model(self) -> Self:
        if "model" not in self.model_fields_set or not self.model:
            raise ValueError("model: expected the name of the model that answers, as the API calls it, got none")
        return self


_SET_BY_OTHER_KEYS: Final = {
    "model": "which teacher.model sets",
    "messages": "which teacher.prompt sets",
    "logprobs": "which teacher.top_logprobs sets",
    "top_logprobs": "which teacher.top_logprobs sets",
    "n": "but one answer is read",
    "stream": "but a stream cannot be read",
}


def _with_protocol(section: Any) -> Any:
    """The section with the default protocol, if it names none."""
    return {"protocol": "open-inference", **section} if isinstance(section, dict) else section


TeacherAddress = Annotated[
    OpenInferenceAddress | LabelledScoresAddress | ChatAddress,
    Discriminator("protocol"),
    BeforeValidator(_with_protocol),
]

"""Every problem that a request may get, as a page: made of the errors themselves, so that none is forgotten."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, Final

from teacher_service.errors.service_errors import ServiceError

_RETRY_MAY_HELP: Final = (408, 500)


@dataclass(frozen=True)
class Page:
    """One type of problem, and the cases that it stands for."""

    kind: str
    cases: tuple[type[ServiceError], ...]

    @property
    def title(self) -> str:
        """Its name and status."""
        return f"{self.kind} ({self.cases[0].status})"

    @property
    def example(self) -> dict[str, Any]:
        """One such answer."""
        return self.cases[0].example().document()

    @property
    def retry(self) -> str:
        """Whether the same request may succeed later."""
        if self.cases[0].example().retry_after_seconds is not None:
            return "yes, unchanged, after the seconds that `Retry-After` says."
        if self.cases[0].status in _RETRY_MAY_HELP:
            return "yes, unchanged; with an Idempotency-Key it is charged at most once."
        return "no; unchanged, it is refused again."

    def paragraphs(self) -> Iterator[str]:
        """What there is to say, in Markdown that has no marks but backquotes."""
        for case in self.cases:
            yield f"{case.meaning()} To do: {case.remedy[0].lower()}{case.remedy[1:]}"
        yield f"Cost: nothing. Retry: {self.retry}"


def catalogue() -> dict[str, Page]:
    """All pages by kind, in the order of their statuses."""
    named = [error for error in _descendants(ServiceError) if hasattr(error, "kind")]
    in_order = sorted(named, key=lambda error: (error.status, error.kind, len(error.__mro__), error.__name__))
    return {kind: Page(kind, tuple(cases)) for kind, cases in groupby(in_order, key=lambda error: error.kind)}


def markdown() -> str:
    """All pages as one document."""
    parts = [
        "# Problems",
        "What a request can be refused for, by the last part of the problem's `type`. No refusal costs anything.",
        "Made by `make docs` from `teacher_service/errors`. A running service shows the same at `/problems`.",
    ]
    for page in catalogue().values():
        parts += [f"## {page.title}", *page.paragraphs(), f"```json\n{json.dumps(page.example, indent=2)}\n```"]
    return "\n\n".join(parts) + "\n"


def html_list() -> str:
    """Links to all pages."""
    entries = "".join(
        f'<li><a href="/problems/{escape(page.kind)}">{escape(page.title)}</a>: {_marked(page.cases[0].meaning())}</li>'
        for page in catalogue().values()
    )
    return _document(
        "Problems", f"<p>What a request can be refused for. No refusal costs anything.</p><ul>{entries}</ul>"
    )


def html_page(page: Page) -> str:
    """One page."""
    said = "".join(f"<p>{_marked(paragraph)}</p>" for paragraph in page.paragraphs())
    example = escape(json.dumps(page.example, indent=2))
    return _document(page.title, f'{said}<pre>{example}</pre><p><a href="/problems">All problems</a></p>')


def _descendants(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for child in error.__subclasses__():
        yield child
        yield from _descendants(child)


def _marked(text: str) -> str:
    """With what stands in backquotes as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _document(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        "<style>body{font:16px/1.5 sans-serif;max-width:45em;margin:2em auto;padding:0 1em}"
        "pre{white-space:pre-wrap}</style>"
        f"<h1>{escape(title)}</h1>{body}</html>"
    )

"""The documentation of every problem type, made from the error classes themselves, so that none is missing."""

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
    """The page of one problem type, with the errors that have it."""

    kind: str
    cases: tuple[type[ServiceError], ...]

    @property
    def title(self) -> str:
        """The name and the status of the problem type."""
        return f"{self.kind} ({self.cases[0].status})"

    @property
    def example(self) -> dict[str, Any]:
        """An example of the problem document."""
        return self.cases[0].example().document()

    @property
    def retry(self) -> str:
        """Whether a retry may succeed, in a sentence."""
        if self.cases[0].example().retry_after_seconds is not None:
            return "yes, unchanged, after the seconds in `Retry-After`."
        if self.cases[0].status in _RETRY_MAY_HELP:
            return "yes, unchanged; with an Idempotency-Key it is charged at most once."
        return "no; unchanged, the request fails again."

    def paragraphs(self) -> Iterator[str]:
        """The text of the page, in Markdown with no other markup than backquotes."""
        for case in self.cases:
            yield f"{case.meaning()} Remedy: {case.remedy[0].lower()}{case.remedy[1:]}"
        yield f"Cost: {self.cases[0].cost}. Retry: {self.retry}"


def catalogue() -> dict[str, Page]:
    """All pages by problem type, in the order of their statuses."""
    named = [error for error in _descendants(ServiceError) if hasattr(error, "kind")]
    in_order = sorted(named, key=lambda error: (error.status, error.kind, len(error.__mro__), error.__name__))
    return {kind: Page(kind, tuple(cases)) for kind, cases in groupby(in_order, key=lambda error: error.kind)}


def markdown() -> str:
    """All pages as one document."""
    parts = [
        "# Problems",
        "The errors that a request can get, by the last part of the problem's `type`. An error costs nothing unless "
        "its entry says otherwise.",
        "Made by `make docs` from `teacher_service/errors`. A running service shows the same at `/problems`.",
    ]
    for page in catalogue().values():
        parts += [
            f"## `{page.kind}` ({page.cases[0].status})",
            *page.paragraphs(),
            f"```json\n{json.dumps(page.example, indent=2)}\n```",
        ]
    return "\n\n".join(parts) + "\n"


def html_list() -> str:
    """Links to all pages."""
    entries = "".join(
        f'<li><a href="/problems/{escape(page.kind)}">{escape(page.title)}</a>: {_marked(page.cases[0].meaning())}</li>'
        for page in catalogue().values()
    )
    return _document(
        "Problems",
        "<p>The errors that a request can get. An error costs nothing unless its page says otherwise.</p>"
        f"<ul>{entries}</ul>",
    )


def html_page(page: Page) -> str:
    """One page."""
    paragraphs = "".join(f"<p>{_marked(paragraph)}</p>" for paragraph in page.paragraphs())
    example = escape(json.dumps(page.example, indent=2))
    return _document(page.title, f'{paragraphs}<pre>{example}</pre><p><a href="/problems">All problems</a></p>')


def _descendants(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for child in error.__subclasses__():
        yield child
        yield from _descendants(child)


def _marked(text: str) -> str:
    """The text as HTML, with code for backquotes."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _document(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        "<style>body{font:16px/1.5 sans-serif;max-width:45em;margin:2em auto;padding:0 1em}"
        "pre{white-space:pre-wrap}</style>"
        f"<h1>{escape(title)}</h1>{body}</html>"
    )

"""`/problems`: what the type of a problem leads to."""

import html.parser

from tests.teacher_service.running_service import ServiceUnderTest
from tests.teacher_service.wire import assert_refused


def test_type_of_a_refusal_leads_to_its_page(service: ServiceUnderTest) -> None:
    refusal = service.send("GET", "/v1/quota").json()
    page = service.send("GET", refusal["type"])
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>unauthorized (401)</h1>" in page.text
    assert "&lt;key&gt;" in page.text, "what is no markup is escaped"


def test_list_leads_to_every_page(service: ServiceUnderTest) -> None:
    links = _Links()
    links.feed(service.send("GET", "/problems").text)
    assert len(links.found) > 20
    for link in links.found:
        assert service.send("GET", link).status_code == 200, link


def test_unknown_problem_is_one_itself(service: ServiceUnderTest) -> None:
    assert_refused(service.send("GET", "/problems/none"), 404, "not-found", "application/problem+json")


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]

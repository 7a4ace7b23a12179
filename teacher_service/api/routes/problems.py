"""The pages that the `type` of a problem links to: its meaning and what to do. Free, without a key."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from teacher_service.api.openapi.errors import error_responses
from teacher_service.errors.catalogue import catalogue, html_list, html_page
from teacher_service.errors.service_errors import NotFound

router = APIRouter(tags=["documentation"], default_response_class=HTMLResponse)


@router.get("/problems", responses=error_responses())
async def problems() -> str:
    """All problems, each with a link to its page."""
    return html_list()


@router.get("/problems/{kind}", responses=error_responses(NotFound))
async def problem(kind: str) -> str:
    """One problem: its meaning, its cost (nothing), whether to retry, what to do. 404: no such problem."""
    page = catalogue().get(kind)
    if page is None:
        raise NotFound(f"problem: expected a kind that /problems lists, got {kind[:80]!r}")
    return html_page(page)

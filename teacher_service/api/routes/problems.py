"""What the `type` of a problem leads to: a page that says what it means and what to do. Costs nothing, needs no key."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from teacher_service.api.openapi.errors import refusals
from teacher_service.errors.catalogue import catalogue, html_list, html_page
from teacher_service.errors.service_errors import NotFound

router = APIRouter(tags=["documentation"], default_response_class=HTMLResponse)


@router.get("/problems", responses=refusals())
async def problems() -> str:
    """All problems, each with a link to its page."""
    return html_list()


@router.get("/problems/{kind}", responses=refusals(NotFound))
async def problem(kind: str) -> str:
    """One problem: what it means, what it cost (nothing), whether to retry, what to do. 404: there is none."""
    page = catalogue().get(kind)
    if page is None:
        raise NotFound(f"problem: there is none of the kind {kind[:80]!r}; /problems lists all")
    return html_page(page)

"""`/v1/admin/keys`: what `teacher-service keys` does, over HTTP, for whoever has TEACHER_ADMIN_KEY.

Nothing here costs samples. Endpoints are not async: FastAPI runs them in its threads, where they may wait for a commit.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel

from teacher_service.api.dependencies import RunningService, administrator
from teacher_service.api.inference_request import idempotency_key_of
from teacher_service.api.json_form import BODY_REFUSALS, body_of, documented_body
from teacher_service.api.openapi.errors import ADMIN_KEYED, Responses, refusals
from teacher_service.errors.service_errors import (
    AdminDisabled,
    IdempotencyMismatch,
    InvalidRequest,
    LedgerUnavailable,
    NameTaken,
    QuotaTooLarge,
    Unauthorized,
    UnknownKey,
)
from teacher_service.keys.request_schemas import ChangeTermsRequest, CreateKeyRequest, GrantRequest
from teacher_service.keys.response_schemas import GrantedResponse, KeyResponse, KeyWithGrants, NewKeyResponse
from teacher_service.policy.key_terms import KeyTerms

_NO_STORE: Final = {"Cache-Control": "no-store"}
"""On answers that hold a secret."""
_ANY: Final = (AdminDisabled, Unauthorized, LedgerUnavailable)
_ONE: Final = (*_ANY, InvalidRequest, UnknownKey)
_REPLAYED: Final = {
    "Idempotency-Replayed": {"description": "`true` where it was granted earlier.", "schema": {"type": "string"}}
}
_GRANTED: Final[Responses] = {201: {"headers": _REPLAYED}}

router = APIRouter(prefix="/v1/admin/keys", tags=["administration"], dependencies=[Depends(administrator)])

KeyId = Annotated[str, Path(pattern="^[A-Za-z0-9]{1,32}$", description="The key's id.")]


class KeyList(BaseModel):
    """Every key, oldest first."""

    keys: list[KeyResponse]


class RevokedKey(BaseModel):
    """A key that is refused from now on."""

    id: str
    revoked: bool = True


async def _reference(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(description="What makes a retry safe: under it, a key is granted something once. Quoted or bare."),
    ] = None,
) -> str | None:
    return None if idempotency_key is None else idempotency_key_of(request)


@router.post(
    "",
    status_code=201,
    responses=refusals(*_ANY, *BODY_REFUSALS, NameTaken),
    openapi_extra=ADMIN_KEYED | documented_body(CreateKeyRequest),
)
def create_key(
    service: RunningService, response: Response, form: Annotated[CreateKeyRequest, Depends(body_of(CreateKeyRequest))]
) -> NewKeyResponse:
    """Make a key, and tell it, once: only its hash is stored.

    400 a field is wrong; 401 no admin key; 403 the service has none; 408, 413, 415 the body; 409 the name is taken; 503
    ledger down. A retry makes no second key: names are unique. Where the answer was lost, 409 says so; find the key by
    its name and `rotate` it for another secret.
    """
    key = service.keys.create(form.name, form.quota, terms=KeyTerms(**form.given_terms))
    response.headers.update(_NO_STORE)
    return NewKeyResponse(id=key.id, key=key.token)


@router.get("", responses=refusals(*_ANY), openapi_extra=ADMIN_KEYED)
def list_keys(service: RunningService) -> KeyList:
    """Every key's quota and terms. 401 no admin key; 403 the service has none; 503 ledger down. Safe to repeat."""
    return KeyList(keys=[KeyResponse.of(quota, revoked) for quota, revoked in service.keys.all()])


@router.get("/{key_id}", responses=refusals(*_ONE), openapi_extra=ADMIN_KEYED)
def show_key(service: RunningService, key_id: KeyId) -> KeyWithGrants:
    """A key's quota and terms, and the grants that its quota is the sum of.

    400 that is no key's id; 401 no admin key; 403 the service has none; 404 no such key; 503 ledger down. Safe to
    repeat.
    """
    return KeyWithGrants.of_history(service.keys.show(key_id))


@router.patch(
    "/{key_id}",
    responses=refusals(*_ONE, *BODY_REFUSALS),
    openapi_extra=ADMIN_KEYED | documented_body(ChangeTermsRequest),
)
def change_key(
    service: RunningService, key_id: KeyId, form: Annotated[ChangeTermsRequest, Depends(body_of(ChangeTermsRequest))]
) -> KeyResponse:
    """Give a key other terms, from its next request on: those that are named, where null takes a limit away.

    400 a field is wrong; 401 no admin key; 403 the service has none; 404 no such key, or it is revoked; 408, 413, 415
    the body; 503 ledger down. A retry changes nothing more.
    """
    return KeyResponse.of(service.keys.change(key_id, **form.given_terms), revoked=False)


@router.post(
    "/{key_id}/grants",
    status_code=201,
    responses=_GRANTED | refusals(*_ONE, *BODY_REFUSALS, QuotaTooLarge, IdempotencyMismatch),
    openapi_extra=ADMIN_KEYED | documented_body(GrantRequest),
)
def grant_samples(
    service: RunningService,
    response: Response,
    key_id: KeyId,
    form: Annotated[GrantRequest, Depends(body_of(GrantRequest))],
    reference: Annotated[str | None, Depends(_reference)],
) -> GrantedResponse:
    """Add to a key's quota, from its next request on.

    With an `Idempotency-Key` a repetition grants nothing more and gets the same answer, for ever, so every retry is
    safe. Without one, a retry after a lost answer grants again.

    400 a field is wrong, or the quota would be too large; 401 no admin key; 403 the service has none; 404 no such key;
    408, 413, 415 the body; 422 the Idempotency-Key was used for another grant to this key; 503 ledger down.
    """
    granted = service.keys.grant(key_id, form.samples, form.reason, reference)
    if granted.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return GrantedResponse.of_granted(granted)


@router.post("/{key_id}/rotate", responses=refusals(*_ONE), openapi_extra=ADMIN_KEYED)
def rotate_key(service: RunningService, response: Response, key_id: KeyId) -> NewKeyResponse:
    """Give a key another secret, and tell it, once; the old one is refused from the next request on.

    400 that is no key's id; 401 no admin key; 403 the service has none; 404 no such key, or it is revoked; 503 ledger
    down. A retry gives yet another secret, and the one before it, which may be the one that was lost, is refused.
    """
    key = service.keys.rotate(key_id)
    response.headers.update(_NO_STORE)
    return NewKeyResponse(id=key.id, key=key.token)


@router.post("/{key_id}/revoke", responses=refusals(*_ONE), openapi_extra=ADMIN_KEYED)
def revoke_key(service: RunningService, key_id: KeyId) -> RevokedKey:
    """Refuse a key from its next request on, for good. What it bought stays in the log.

    400 that is no key's id; 401 no admin key; 403 the service has none; 404 no such key; 503 ledger down. A retry
    changes nothing more.
    """
    if not service.keys.revoke(key_id):
        raise UnknownKey(key_id)
    return RevokedKey(id=key_id)

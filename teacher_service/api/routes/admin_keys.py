"""`/v1/admin/keys`: the commands of `teacher-service keys` over HTTP, for the holder of TEACHER_ADMIN_KEY.

No route costs samples. Endpoints are not async: FastAPI runs them in threads, where they may block on a commit.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel

from teacher_service.api.body import BODY_ERRORS, json_body, json_body_document
from teacher_service.api.dependencies import State, require_admin_key
from teacher_service.api.inference_request import idempotency_key_of
from teacher_service.api.openapi.errors import ADMIN_KEYED, Responses, error_responses
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
"""Headers of responses that hold a secret."""
_ANY: Final = (AdminDisabled, Unauthorized, LedgerUnavailable)
_ONE: Final = (*_ANY, InvalidRequest, UnknownKey)
_REPLAYED: Final = {
    "Idempotency-Replayed": {"description": "`true` if it was granted before.", "schema": {"type": "string"}}
}
_GRANTED: Final[Responses] = {201: {"headers": _REPLAYED}}

router = APIRouter(prefix="/v1/admin/keys", tags=["administration"], dependencies=[Depends(require_admin_key)])

KeyId = Annotated[str, Path(pattern="^[A-Za-z0-9]{1,32}$", description="The key's id.")]


class KeyList(BaseModel):
    """Every key, oldest first."""

    keys: list[KeyResponse]


class RevokedKey(BaseModel):
    """A key that is rejected from now on."""

    id: str
    revoked: bool = True


async def _reference(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(description="Makes a retry safe: the key gets the grant under it only once. Quoted or bare."),
    ] = None,
) -> str | None:
    return None if idempotency_key is None else idempotency_key_of(request)


@router.post(
    "",
    status_code=201,
    responses=error_responses(*_ANY, *BODY_ERRORS, NameTaken),
    openapi_extra=ADMIN_KEYED | json_body_document(CreateKeyRequest),
)
def create_key(
    state: State, response: Response, body: Annotated[CreateKeyRequest, Depends(json_body(CreateKeyRequest))]
) -> NewKeyResponse:
    """Create a key and return its secret, once: only the hash is stored.

    400 invalid field; 401 no admin key; 403 the admin API is disabled; 408, 413, 415 the body; 409 the name is taken;
    503 ledger unavailable. Names are unique, so a retry creates no second key: if the response was lost, the retry gets
    409; look the key up by its name and `rotate` it for a new secret.
    """
    key = state.keys.create(body.name, body.quota, terms=KeyTerms(**body.given_terms))
    response.headers.update(_NO_STORE)
    return NewKeyResponse(id=key.id, key=key.token)


@router.get("", responses=error_responses(*_ANY), openapi_extra=ADMIN_KEYED)
def list_keys(state: State) -> KeyList:
    """List every key's quota and terms, oldest first.

    401 no admin key; 403 the admin API is disabled; 503 ledger unavailable. Safe to repeat.
    """
    return KeyList(keys=[KeyResponse.of(quota, revoked) for quota, revoked in state.keys.all()])


@router.get("/{key_id}", responses=error_responses(*_ONE), openapi_extra=ADMIN_KEYED)
def show_key(state: State, key_id: KeyId) -> KeyWithGrants:
    """Show a key's quota and terms, and its grants, whose sum is the quota.

    400 malformed key id; 401 no admin key; 403 the admin API is disabled; 404 no such key; 503 ledger unavailable. Safe
    to repeat.
    """
    return KeyWithGrants.of_history(state.keys.show(key_id))


@router.patch(
    "/{key_id}",
    responses=error_responses(*_ONE, *BODY_ERRORS),
    openapi_extra=ADMIN_KEYED | json_body_document(ChangeTermsRequest),
)
def change_key(
    state: State, key_id: KeyId, body: Annotated[ChangeTermsRequest, Depends(json_body(ChangeTermsRequest))]
) -> KeyResponse:
    """Change the named terms of a key, from its next request on; null removes a limit.

    400 invalid field; 401 no admin key; 403 the admin API is disabled; 404 no such key, or it is revoked; 408, 413, 415
    the body; 503 ledger unavailable. A retry is safe: it changes nothing more.
    """
    return KeyResponse.of(state.keys.change(key_id, **body.given_terms), revoked=False)


@router.post(
    "/{key_id}/grants",
    status_code=201,
    responses=_GRANTED | error_responses(*_ONE, *BODY_ERRORS, QuotaTooLarge, IdempotencyMismatch),
    openapi_extra=ADMIN_KEYED | json_body_document(GrantRequest),
)
def grant_samples(
    state: State,
    response: Response,
    key_id: KeyId,
    body: Annotated[GrantRequest, Depends(json_body(GrantRequest))],
    reference: Annotated[str | None, Depends(_reference)],
) -> GrantedResponse:
    """Add samples to a key's quota, from its next request on.

    With an `Idempotency-Key`, a repetition grants nothing more and gets the same response, for ever, so every retry is
    safe. Without one, a retry after a lost response grants again.

    400 invalid field, or the quota would be too large; 401 no admin key; 403 the admin API is disabled; 404 no such
    key; 408, 413, 415 the body; 422 the Idempotency-Key was used for another grant to this key; 503 ledger unavailable.
    """
    granted = state.keys.grant(key_id, body.samples, body.reason, reference)
    if granted.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return GrantedResponse.of_granted(granted)


@router.post("/{key_id}/rotate", responses=error_responses(*_ONE), openapi_extra=ADMIN_KEYED)
def rotate_key(state: State, response: Response, key_id: KeyId) -> NewKeyResponse:
    """Replace a key's secret and return the new one, once; the old one is rejected from the next request on.

    400 malformed key id; 401 no admin key; 403 the admin API is disabled; 404 no such key, or it is revoked; 503 ledger
    unavailable. A retry replaces the secret again: the one before it, whose response may have been lost, is rejected.
    """
    key = state.keys.rotate(key_id)
    response.headers.update(_NO_STORE)
    return NewKeyResponse(id=key.id, key=key.token)


@router.post("/{key_id}/revoke", responses=error_responses(*_ONE), openapi_extra=ADMIN_KEYED)
def revoke_key(state: State, key_id: KeyId) -> RevokedKey:
    """Reject a key from its next request on, for good. Its queries stay in the log.

    400 malformed key id; 401 no admin key; 403 the admin API is disabled; 404 no such key; 503 ledger unavailable. A
    retry is safe: it changes nothing more.
    """
    if not state.keys.revoke(key_id):
        raise UnknownKey(key_id)
    return RevokedKey(id=key_id)

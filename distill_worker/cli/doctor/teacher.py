"""The teacher of a run: its URL, the way to it, the API key, its clock. Every request is free."""

from collections.abc import Iterator, Mapping
from typing import Final

from distill_worker.buying.known_teachers import url_of
from distill_worker.cli.contact import ADDRESS, API_KEY, REACHABLE, Contact
from distill_worker.cli.doctor.finding import Finding
from distill_worker.config.teacher_address import VendorAddress
from distill_worker.errors import ConfigError, TeacherError
from distill_worker.runs.purchase import Source
from distill_worker.teachers.http_client import proxy_of
from distill_worker.teachers.obstacles import Obstacle, obstacle_of

_CLOCK: Final = "clock"
ADDRESS_REMEDY: Final = "correct the URL, or the variable, that the line names"
CLOCK_REMEDY: Final = (
    "set the clock that is wrong, for example with NTP (timedatectl set-ntp true); reconcile compares times"
)
_MOST_SECONDS_APART: Final = 60.0
"""Clocks that differ by more mislead `reconcile`, and make certificates look expired."""

REMEDIES: Final[Mapping[Obstacle, str]] = {
    Obstacle.NAME: "correct the server's name in teacher.url, or TEACHER_URL; check that names can be looked up here",
    Obstacle.CONNECTION_REJECTED: "start the teacher, or correct the port in teacher.url, or TEACHER_URL",
    Obstacle.TIMEOUT: "check that the server runs and no firewall is between; if it is slow, raise "
    "teacher.timeout_seconds",
    Obstacle.CERTIFICATE: "set SSL_CERT_FILE to the certificate of the server's authority, and write the server's "
    "name in teacher.url as its certificate has it (docs/reaching-a-teacher.md)",
    Obstacle.NO_TLS: "write http:// in place of https:// in teacher.url, or the port that speaks TLS",
    Obstacle.PROXY: "correct HTTPS_PROXY or HTTP_PROXY, or name the server in NO_PROXY (docs/reaching-a-teacher.md)",
    Obstacle.API_KEY: "set TEACHER_API_KEY, or TEACHER_API_KEY_FILE, to a valid key; the operator makes one with "
    "teacher-service keys create",
    Obstacle.MODEL: "set teacher.model to the model's name on the server",
    Obstacle.PROTOCOL: "correct the port and path in teacher.url, or TEACHER_URL: no teacher of teacher.protocol is "
    "there (docs/vendors.md)",
    Obstacle.REDIRECT: "set teacher.url to the address that the line names",
    Obstacle.BUSY: "wait a little, and run doctor again",
    Obstacle.OTHER: "read the line; docs/reaching-a-teacher.md explains addresses, proxies and certificates",
}


def check_teacher(contact: Contact) -> Iterator[Finding]:
    """Check the address, the way to the teacher, the API key and the clock."""
    wrong, source = contact.wrong, None
    if (error := wrong.get(ADDRESS)) is not None:
        yield Finding.fault(ADDRESS, error, ADDRESS_REMEDY)
    else:
        url = url_of(contact.address)
        source = Source.of(contact.address)
        through = f", through {proxy}" if (proxy := proxy_of(url)) else ", without a proxy"
        yield Finding.ok(ADDRESS, f"{source.described(None)}{through}")
    yield _reachable(contact)
    yield _api_key(contact, source)
    yield _clock(contact)


def _reachable(contact: Contact) -> Finding:
    wrong, description = contact.wrong, contact.description
    if isinstance(error := wrong.get(REACHABLE), TeacherError):
        return Finding.fault(REACHABLE, error, REMEDIES[obstacle_of(error)])
    if ADDRESS in wrong:
        return Finding.not_checked(REACHABLE, f"{ADDRESS} must hold first")
    if isinstance(wrong.get(API_KEY), ConfigError):
        return Finding.not_checked(REACHABLE, f"{API_KEY} must hold first")
    if description is None:
        return Finding.ok(REACHABLE, "the server responds, and does not accept the API key")
    if isinstance(contact.address, VendorAddress):
        return Finding.ok(REACHABLE, "a connection can be made; no request was sent, because each one is charged")
    classes = f"{description.num_classes} classes"
    shape = "any shape" if description.image_shape is None else " x ".join(map(str, description.image_shape))
    outputs = ", ".join(description.outputs)
    return Finding.ok(REACHABLE, f"teacher {description.id}: {classes}, images of {shape}, sells {outputs}")


def _api_key(contact: Contact, source: Source | None) -> Finding:
    error, remedy = contact.wrong.get(API_KEY), REMEDIES[Obstacle.API_KEY]
    if error is not None:
        return Finding.fault(API_KEY, error, remedy)
    if contact.description is None:
        return Finding.not_checked(API_KEY, f"{REACHABLE} must hold first")
    if source is None or not source.key_variables:
        return Finding.warning(API_KEY, "TEACHER_API_KEY is not set, and the teacher wants no API key so far", remedy)
    if contact.quota is None:
        return Finding.ok(API_KEY, f"{source.key_variables[0]} is set; the teacher says nothing about it")
    name = "" if contact.quota.key_name is None else f" {contact.quota.key_name!r}"
    return Finding.ok(API_KEY, f"the teacher accepts the key{name} in {source.key_variables[0]}")


def _clock(contact: Contact) -> Finding:
    ahead = contact.seconds_ahead
    if ahead is None:
        return Finding.not_checked(_CLOCK, "the teacher stated no time")
    if abs(ahead) > _MOST_SECONDS_APART:
        direction = "ahead of" if ahead > 0 else "behind"
        return Finding.warning(
            _CLOCK,
            f"the teacher's clock is {abs(ahead):,.0f} s {direction} this machine's, by the Date of its answers",
            CLOCK_REMEDY,
        )
    return Finding.ok(_CLOCK, f"the clocks of teacher and machine differ by {abs(ahead):.0f} s")

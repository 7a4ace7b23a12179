"""One attempt to reach a teacher, with free requests alone: what it says, or why it cannot be reached."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from distill_worker.buying.known_teachers import url_of
from distill_worker.config.teacher_address import TeacherAddress, VendorAddress
from distill_worker.errors import ConfigError, TeacherError, WorkerError
from distill_worker.runs.purchase import api_key
from distill_worker.teachers.base import Description, Quota, Teacher
from distill_worker.teachers.http_client import proxy_of, try_connection
from distill_worker.teachers.obstacles import Obstacle, obstacle_of
from distill_worker.teachers.open_teacher import teacher_at

ADDRESS: Final = "address"
API_KEY: Final = "api-key"
REACHABLE: Final = "reachable"


@dataclass
class Contact:
    """A connection to the teacher at an address, and what came of it. A context manager."""

    address: TeacherAddress
    teacher: Teacher | None = None
    """None if something is wrong."""
    description: Description | None = None
    quota: Quota | None = None
    wrong: dict[str, WorkerError] = field(default_factory=dict)
    """What is wrong: of `ADDRESS`, `API_KEY` or `REACHABLE`."""
    seconds_ahead: float | None = None
    """By how much the teacher's clock is ahead of this one; None if it stated no time."""
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        """Connect. What is wrong is kept, and not raised."""
        try:
            url = url_of(self.address)
            proxy_of(url)
        except ConfigError as error:
            self.wrong[ADDRESS] = error
            return self
        try:
            key = api_key()
        except ConfigError as error:
            self.wrong[API_KEY] = error
            return self
        try:
            self._reach(url, key)
        except ConfigError as error:
            self.wrong[ADDRESS] = error
        except TeacherError as error:
            self.wrong[API_KEY if obstacle_of(error) is Obstacle.API_KEY else REACHABLE] = error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _reach(self, url: str, key: str | None) -> None:
        # A run would wait and try again; here one attempt shows at once what is wrong.
        address = self.address.model_copy(update={"give_up_after_seconds": 0})
        teacher = self._stack.enter_context(teacher_at(address, url=url, api_key=key, on_clock=self._note_clock))
        if isinstance(address, VendorAddress):
            try_connection(url, timeout_seconds=address.timeout_seconds)  # its requests are charged: none is sent
        self.description = teacher.describe()
        self.quota = teacher.quota()
        self.teacher = teacher

    def _note_clock(self, seconds: float) -> None:
        self.seconds_ahead = seconds

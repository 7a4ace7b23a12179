"""The purchases of a sweep: one process at a time trains the own teachers and buys what all students learn from.

All purchases at addresses are planned, shown and agreed to before the first call, with what later rounds buy at most. A
process that comes later waits, has everything in the cache, and sends no request.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from distill_worker.buying.known_teachers import url_of
from distill_worker.buying.plan import Plan
from distill_worker.config.teacher_address import TeacherAddress
from distill_worker.errors import PlanRefused, RunError, counted
from distill_worker.experiments.comparison.compare import within_quota
from distill_worker.experiments.comparison.lessons import NO_LESSONS, Lessons, lessons_of_round, plan_of
from distill_worker.experiments.comparison.students import runs_of
from distill_worker.experiments.display import Display
from distill_worker.experiments.engines.inputs import Inputs
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.student_ids import HOW_IT_IS_BOUGHT
from distill_worker.experiments.sweep.students import Source
from distill_worker.runs import preflight

_HOW_IT_IS_READ: Final[Any] = {"label_smoothing"}
"""Settings of `[teacher]` that change what a student learns from an output, and not what is bought."""

Runs = Mapping[str, preflight.Run]
"""The run of each student, by the student's id."""


class Offer(NamedTuple):
    """The plan of a purchase, and where it is made."""

    address: TeacherAddress
    plan: Plan
    sources: tuple[str, ...]
    """The ids of the sources that learn from it."""


OnOffers = Callable[[Sequence[Offer]], None]
"""Gets the plans of all purchases at addresses before the first call, and raises `PlanRefused` if they may not be."""


class Bought(NamedTuple):
    """What the students learn from, and what it has cost this process."""

    inputs: dict[str, Inputs]
    """By the id of the student."""
    calls_paid: int | None
    """None if a teacher states no quota."""
    cache_hits: int


def checked_runs(sources: Sequence[Source]) -> dict[str, preflight.Run]:
    """The run of each student, checked as far as no teacher is needed.

    Raises:
        WorkerError: see `preflight.check_run`.
    """
    runs = dict[str, preflight.Run]()
    for source in sources:
        of_source = runs_of(source.comparison.cells, fresh=False, trains=False)
        runs |= {student.id: run for student, run in zip(source.students, of_source, strict=True)}
    for run in runs.values():
        preflight.check_run(run)
    return runs


class Purchases:
    """The purchases of one process, round after round, all within what is agreed to before the first one."""

    def __init__(self, directory: SweepDirectory, *, display: Display, on_offers: OnOffers) -> None:
        """Nothing is bought yet.

        Args:
            directory: of the sweep.
            display: shows the progress.
            on_offers: agrees to the price.
        """
        self._directory = directory
        self._display = display
        self._on_offers = on_offers
        self._agreed: dict[str, _Within] | None = None
        self._lessons: dict[str, Lessons] = {}

    def buy(self, sources: Sequence[Source], runs: Runs) -> Bought:
        """Train own teachers, buy what the cache lacks of this round, and load what every student learns from.

        Args:
            sources: with the students that have no result; the same in every round.
            runs: of `checked_runs`, with the samples of this round.

        Raises:
            WorkerError: see `lessons_of_round`.
        """
        inputs: dict[str, Inputs] = {}
        with self._directory.purchasing(self._display.note):
            if self._agreed is None:
                self._agreed = self._agreement(sources, runs)
            for source in sources:
                lessons = self._lessons[source.id] = lessons_of_round(
                    source.comparison,
                    _runs_of(source, runs),
                    after=self._lessons.get(source.id, NO_LESSONS),
                    display=self._display,
                    on_plan=within_quota if _is_own(source) else self._agreed.get(source.id, _Within(0)),
                    states_quota=False,
                )
                inputs |= {student.id: one for student, one in zip(source.students, lessons.inputs, strict=True)}
                samples = self._samples_bought(source, runs)
                self._directory.save_source(source.id, {"teacher": lessons.teacher, "samples": samples})
        return Bought(inputs, *self._spent())

    def _agreement(self, sources: Sequence[Source], runs: Runs) -> dict[str, "_Within"]:
        """What each source at an address may buy in all rounds, after the price is agreed to."""
        offers = _offers(sources, runs, self._display)
        for offer in offers:
            _check_same_teacher(self._directory, offer)
        if offers:
            self._on_offers(offers)
        agreed = dict[str, _Within]()
        for offer in offers:
            agreed |= dict.fromkeys(offer.sources, _Within(offer.plan.most_calls + offer.plan.later))
        return agreed

    def _samples_bought(self, source: Source, runs: Runs) -> int:
        """The different samples of a source's teacher that students of the sweep learn from, in all rounds so far.

        The cache may hold others, which the sweep did not buy. Finished students are in no later process, so what they
        learned from is kept.
        """
        teacher_id = self._lessons[source.id].teacher["id"]
        if teacher_id is None:
            return 0
        taught = [run for run in _runs_of(source, runs) if run.config.needs_teacher]
        samples = self._directory.add_samples(teacher_id, {key for run in taught for key in run.samples.wanted})
        earlier = (self._directory.source(source.id) or {}).get("samples")  # earlier versions kept the number alone
        return max(samples, earlier or 0)

    def _spent(self) -> tuple[int | None, int]:
        """The calls paid, and the cached outputs; the former is None if a teacher states no quota."""
        calls = [lessons.calls for lessons in self._lessons.values()]
        paid = [one.paid for one in calls if one.paid is not None]
        return sum(paid) if len(paid) == len(calls) else None, sum(one.cache_hits for one in calls)


def _runs_of(source: Source, runs: Runs) -> list[preflight.Run]:
    return [runs[student.id] for student in source.students]


def _check_same_teacher(directory: SweepDirectory, offer: Offer) -> None:
    """Check that finished students learned from the same teacher as those to come. Raises `RunError`."""
    for source in offer.sources:
        before = ((directory.source(source) or {}).get("teacher") or {}).get("id")
        if before not in (None, offer.plan.teacher_id):
            raise RunError(
                f"teacher: expected {before}, from which earlier students of this sweep learned, got "
                f"{offer.plan.teacher_id}: another version answers. Continue with the first one, or choose another "
                "compare.directory. Nothing was spent"
            )


class _Within:
    """Lets sources buy no more together than what was agreed to, in all their rounds."""

    def __init__(self, calls: int) -> None:
        self._left = calls

    def __call__(self, plan: Plan) -> bool:
        preflight.check_plan(plan)
        if plan.most_calls > self._left:
            raise PlanRefused(
                f"expected at most {counted(self._left, 'call')}, which the sweep planned, got a plan for "
                f"{plan.most_calls}: the cache has changed meanwhile. Nothing of it was spent; the same command plans "
                "anew"
            )
        self._left -= plan.most_calls
        return plan.price is not None


def _offers(sources: Sequence[Source], runs: Runs, display: Display) -> list[Offer]:
    """What must be bought at addresses; sources that buy the same outputs share an offer."""
    offers = list[Offer]()
    for alike in _that_buy_alike(sources):
        first = alike[0].comparison
        together = first.with_cells([cell for source in alike for cell in source.comparison.cells])
        plan = plan_of(together, [run for source in alike for run in _runs_of(source, runs)], display)
        if plan is not None:
            offers.append(Offer(first.cells[0].config.teacher, plan, tuple(source.id for source in alike)))
    return offers


def _that_buy_alike(sources: Sequence[Source]) -> list[list[Source]]:
    """The sources at addresses, those together whose data and teacher differ in nothing that is bought."""
    alike: dict[str, list[Source]] = {}
    for source in sources:
        if not _is_own(source):
            config = source.comparison.cells[0].config
            address = config.teacher.model_dump_json(exclude=HOW_IT_IS_BOUGHT | _HOW_IT_IS_READ)
            named = f"{url_of(config.teacher)} {address} {config.data.model_dump_json()}"
            alike.setdefault(named, []).append(source)
    return list(alike.values())


def _is_own(source: Source) -> bool:
    return source.comparison.compare.teacher is not None

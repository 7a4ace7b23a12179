"""The rounds of a sweep: students whose runs select in rounds buy, train and select together, round after round.

The samples of a round are bought together, by one process at a time. Processes share the students of the round that
select, and each process selects the next round, or finds it on disk.
"""

from collections.abc import Sequence

from distill_worker.errors import WorkerError
from distill_worker.experiments.comparison.students import run_with_next_round
from distill_worker.experiments.display import Display
from distill_worker.experiments.engines import Engine
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.purchases import Bought, OnOffers, Purchases, Runs
from distill_worker.experiments.sweep.shared_training import Failures, fail, train_selecting
from distill_worker.experiments.sweep.students import Source


def bought_in_rounds(
    sources: Sequence[Source],
    runs: Runs,
    directory: SweepDirectory,
    engine: Engine,
    *,
    display: Display,
    on_offers: OnOffers,
) -> tuple[Bought, Failures]:
    """Buy all rounds; what the students learn from, and those for which no round could be selected, with the reason.

    Args:
        sources: with the students that have no result.
        runs: of `checked_runs`.
        directory: of the sweep.
        engine: trains the students that select.
        display: shows the progress.
        on_offers: agrees to the price of all rounds.

    Raises:
        WorkerError: see `lessons_of_round`.
    """
    purchases, failures = Purchases(directory, display=display, on_offers=on_offers), dict[str, WorkerError]()
    students = [student for source in sources for student in source.students]
    runs = dict(runs)
    while True:
        bought = purchases.buy(sources, runs)
        waiting = [one for one in students if runs[one.id].selected.later and one.id not in failures]
        if not waiting:
            return bought, failures
        failures |= train_selecting(waiting, runs, bought.inputs, directory, engine, display=display)
        with display.progress_bar("selecting", len(waiting)) as move:
            for done, student in enumerate(waiting, 1):
                if student.id not in failures:
                    try:
                        runs[student.id] = run_with_next_round(runs[student.id], bought.inputs[student.id])
                    except WorkerError as error:
                        failures[student.id] = error
                        fail(student, error, directory, display)
                move(done, student.cell.title)

"""The page of a run: what was bought, how good the student is, where it fails, and how to repeat it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from torch import Tensor

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import counted
from distill_worker.experiments.failure_signs.of_run import signs_of_training
from distill_worker.experiments.failure_signs.rising_loss import rise_of
from distill_worker.experiments.report.charts.analyses import calibration_charts, geometry_charts
from distill_worker.experiments.report.charts.chart import Chart
from distill_worker.experiments.report.charts.classes import class_charts, correlation_charts
from distill_worker.experiments.report.charts.training import training_charts
from distill_worker.experiments.report.page import rendered
from distill_worker.experiments.report.pictures import png_address
from distill_worker.experiments.report.report import Report, Table
from distill_worker.experiments.report.run_record import RunRecord
from distill_worker.experiments.report.toml_text import toml
from distill_worker.experiments.report.wording import duration, percent
from distill_worker.training.finished.intervals import wilson

_OUTSIDE_THE_FILE: Final = ("chosen_by_auto",)
"""Parts of a configuration that the worker writes, and that no file may have."""


@dataclass(frozen=True)
class Guess:
    """A class and its probability."""

    name: str
    probability: float


@dataclass(frozen=True)
class Shown:
    """An image of a gallery."""

    address: str | None
    """None if the data are not at hand."""
    index: int
    label: str
    guesses: dict[str, list[Guess]]
    """By whose they are: the student's, or the teacher's too."""
    note: str = ""


@dataclass(frozen=True)
class _Charts:
    """The charts of a run, by the section of its page."""

    training: Sequence[Chart]
    classes: Sequence[Chart]
    calibration: Sequence[Chart]
    correlation: Sequence[Chart]
    geometry: Sequence[Chart]

    @classmethod
    def of(cls, run: RunRecord) -> "_Charts":
        """Draw all charts that the facts of a run allow."""
        analysis = run.analysis
        return cls(
            list(training_charts(run.metrics)),
            list(class_charts(analysis)),
            list(calibration_charts(analysis)),
            list(correlation_charts(analysis)),
            list(geometry_charts(analysis)),
        )

    def __iter__(self) -> Iterator[Chart]:
        for section in (self.training, self.classes, self.calibration, self.correlation, self.geometry):
            yield from section


def report_of_run(run: RunRecord) -> Report:
    """The report of a finished run."""
    charts = _Charts.of(run)
    tables = [Table("What was bought", ("", ""), purchase_facts(run))]
    tables += [table for table in [class_table(run)] if table.rows]
    tables.append(Table("Versions", ("", ""), environment(run)))
    return Report(
        title=_title(run),
        answers=[answer(run), *_warnings(run)],
        tables=tables,
        values=Table("Values", ("fact", "value"), _values(run)),
        charts=list(charts),
        html=_html(run, charts),
    )


def _warnings(run: RunRecord) -> list[str]:
    """What the command warned of, and the signs that the metrics show, each once."""
    return list(dict.fromkeys([*run.command.get("warnings", []), *signs_of_training(rise_of(run.metrics))]))


def _title(run: RunRecord) -> str:
    return f"{run.result['network']} on {run.result['data']}"


def _html(run: RunRecord, charts: _Charts) -> str:
    return rendered(
        "run.html.j2",
        {
            "title": _title(run),
            "answer": answer(run),
            "figures": key_figures(run),
            "purchase": purchase_facts(run),
            "warnings": _warnings(run),
            "charts": charts,
            "classes": class_table(run),
            "missing": run.missing,
            "errors": _errors(run),
            "disputed": _disputed(run),
            "configuration": toml(configuration(run)),
            "environment": environment(run),
            "command": run.command.get("command") or "distill-worker run run.toml",
            "is_command_known": "command" in run.command,
            "directory": run.directory,
        },
    )


def answer(run: RunRecord) -> str:
    """The result in one sentence."""
    result = run.result
    learned = f"{result['network']} learned from {_lesson(result)}"
    if result["accuracy"] is None:
        return f"{learned}. {_quality_without_labels(result)}"
    low, high = wilson(result["correct"], result["test_samples"])
    return (
        f"{learned} and gets {percent(result['accuracy'])} of "
        f"{result['test_samples']:,} test images right ({100 * low:.1f} to {100 * high:.1f}, 95\N{NO-BREAK SPACE}% "
        "Wilson interval)."
    )


def _quality_without_labels(result: Mapping[str, Any]) -> str:
    fidelity = result.get("fidelity")
    if fidelity is None:
        return "How good it is was not measured: there are no labelled test images, and no samples were held out."
    low, high = (100 * end for end in fidelity["agreement_interval"])
    of = f"{percent(fidelity['agreement'])} of {counted(fidelity['samples'], 'bought image')}"
    interval = f"({low:.1f} to {high:.1f}, 95\N{NO-BREAK SPACE}% Wilson interval)"
    if fidelity["measured_on"] == "held-out":
        return f"Its likeliest class is its teacher's for {of} that it was not trained on {interval}."
    return (
        f"Students of four fifths of these images, without other images, have their teacher's likeliest class for {of} "
        f"that they were not trained on {interval}; this student had them all."
    )


def _lesson(result: Mapping[str, Any]) -> str:
    if result.get("teacher_id") is None or not result["calls"]:
        return f"the labels of {counted(result['n'], 'image')}, without a teacher,"
    return f"{counted(result['calls'], 'answer')} of the teacher {result['teacher_id']} with {result['method']}"


def key_figures(run: RunRecord) -> list[tuple[str, str, str]]:
    """The name, value and meaning of the numbers that stand first."""
    result, analysis = run.result, run.analysis
    figures = []
    if result["accuracy"] is not None:
        images = f"{result['correct']:,} of {result['test_samples']:,} test images"
        figures.append(("Test accuracy", percent(result["accuracy"]), images))
    if fidelity := result.get("fidelity"):
        meaning = f"on {counted(fidelity['samples'], 'bought image')}, {fidelity['measured_on']}"
        figures.append(("Fidelity", percent(fidelity["agreement"]), meaning))
    figures.append(("Teacher calls", f"{result['calls']:,}", _price(run) or f"n = {result['n']:,}"))
    if calibration := analysis.get("calibration"):
        figures.append(("Calibration error", percent(calibration["ece"]), "confidence against accuracy"))
    if bought := (analysis.get("fidelity") or {}).get("bought"):
        figures.append(("Agrees with its teacher", percent(bought["agreement"]), f"on {_trained_on(bought)}"))
    return [*figures, ("Training", duration(result["seconds"]), f"{result['steps']:,} steps")]


def _price(run: RunRecord) -> str:
    price = run.command.get("price_per_call")
    if price is None:
        return ""
    return f"{Decimal(str(price)) * run.result['calls']:,.2f} {run.command['currency']}, at {price:g} each"


def purchase_facts(run: RunRecord) -> list[tuple[str, str]]:
    """What was bought, from whom, and what it cost."""
    result, facts = run.result, list[tuple[str, str]]()
    if result.get("teacher_id") is None or not result["calls"]:
        return [("Bought", "nothing: the method learns from labels alone")]
    outputs = result.get("teacher_output") or "outputs"
    facts.append(("Teacher", str(result["teacher_id"])))
    facts.append(("Bought", f"its {outputs} for {counted(result['calls'], 'sample')}"))
    if "calls_paid" in run.command:
        paid = run.command["calls_paid"]
        facts.append(("Paid by this command", counted(paid, "call")))
        facts.append(("From the cache", counted(max(0, result["calls"] - paid), "answer")))
    if price := _price(run):
        facts.append(("Price", price))
    if (measured := result.get("fidelity") or {}).get("measured_on") == "held-out":
        facts.append(("Held out", f"{measured['samples']:,} of them, which the student was not trained on"))
    if fidelity := (run.analysis.get("fidelity") or {}).get("bought"):
        agreement = percent(fidelity["agreement"])
        facts.append(("Student and teacher", f"agree on {agreement} of {_trained_on(fidelity)}"))
    return facts


def _trained_on(fidelity: Mapping[str, Any]) -> str:
    """The samples of an agreement, which says how well the student fits them; those held out are not among them."""
    return f"the {counted(fidelity['samples'], 'sample')} that it was trained on"


def class_table(run: RunRecord) -> Table:
    """For each class its name, its test images, and the share that is right."""
    names = ("classes", "confusion", "class_accuracy") if "confusion" in run.analysis else ()
    columns = [run.analysis[name] for name in names] or [(), (), ()]
    return Table(
        "Test images and accuracy by class",
        ("class", "test images", "right"),
        [
            (name, f"{sum(counts):,}", "-" if share is None else percent(share))
            for name, counts, share in zip(*columns, strict=True)
        ],
    )


def configuration(run: RunRecord) -> dict[str, Any]:
    """The sections of the configuration, as it was resolved. Places and the teacher's address are not stored."""
    sections = [name for name in RunConfig.model_fields if name not in _OUTSIDE_THE_FILE]
    return {name: run.identity[name] for name in sections if run.identity.get(name) not in (None, [])}


def environment(run: RunRecord) -> list[tuple[str, str]]:
    """Versions and machine."""
    result, stored = run.result, run.environment
    rows = [(name, stored.get(name)) for name in ("python", "torch", "platform", "cuda", "git")]
    rows += [(name, result.get(name)) for name in ("device", "precision", "memory_format")]
    return [(name, str(value)) for name, value in rows if value is not None]


def _values(run: RunRecord) -> list[tuple[str, str]]:
    """Every fact that is one value, in full precision; accuracies by class too."""
    analysis = run.analysis
    single = {name: value for name, value in run.result.items() if not isinstance(value, dict | list)}
    single |= {"ece": analysis["calibration"]["ece"]} if "calibration" in analysis else {}
    bought = (analysis.get("fidelity") or {}).get("bought") or {}
    single |= {f"bought {name}": value for name, value in bought.items()}
    if (fidelity := run.result.get("fidelity")) is not None:
        single |= {
            f"{fidelity['measured_on']} {name}": value for name, value in fidelity.items() if name != "measured_on"
        }
    if "class_accuracy" in analysis:
        by_class = zip(analysis["classes"], analysis["class_accuracy"], strict=True)
        single |= {f"accuracy of {name}": value for name, value in by_class}
    return [(name, "" if value is None else str(value)) for name, value in single.items()]


def _errors(run: RunRecord) -> list[Shown]:
    images = None if run.dataset is None else run.dataset.test.images
    return [_shown(run, images, one, _sides(one, student="top")) for one in run.analysis.get("errors", ())]


def _disputed(run: RunRecord) -> list[Shown]:
    images = None if run.dataset is None else run.dataset.train.images
    return [
        _shown(
            run,
            images,
            one,
            _sides(one, student="student"),
            note=f"KL {one['kl']:.2f}",
        )
        for one in run.analysis.get("disputed", ())
    ]


def _sides(one: Mapping[str, Any], *, student: str) -> dict[str, Any]:
    """The guesses of the teacher, if its network was at hand, and of the student."""
    of_teacher = {"teacher": one["teacher"]} if "teacher" in one else {}
    return of_teacher | {"student": one[student]}


def _shown(
    run: RunRecord, images: Tensor | None, one: Mapping[str, Any], guesses: Mapping[str, Any], note: str = ""
) -> Shown:
    names = run.analysis["classes"]
    index = one["index"]
    return Shown(
        png_address(images[index]) if images is not None and 0 <= index < len(images) else None,
        index,
        _name(one["label"], names),
        {
            whose: [Guess(_name(guess["class"], names), guess["probability"]) for guess in top]
            for whose, top in guesses.items()
        },
        note,
    )


def _name(label: object, names: Sequence[str]) -> str:
    """The name of a class, which the facts give by its number or by its name."""
    if label is None:
        return "no label"
    return names[label] if isinstance(label, int) else str(label)

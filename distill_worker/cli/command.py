"""The `distill-worker` command.

Results go to standard output, progress and errors to standard error; exit status 2 means that something given to the
command, or something that it needs, is not as it must be, and the message says what to do.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from distill_worker.cache import Cache
from distill_worker.cli import buying as cli_buying
from distill_worker.cli import cache as cli_cache
from distill_worker.cli.buying import bought_targets, say_round
from distill_worker.cli.console import TERMINAL, progress_bar
from distill_worker.cli.options import AsJson, ConfigFile, MaxCalls, Overrides, Yes
from distill_worker.cli.tables import show_comparison, show_list
from distill_worker.cli.tables_demo import show_demo
from distill_worker.config.load import load_config
from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets import DATASETS, load_dataset
from distill_worker.data.selection import described as described_strategies
from distill_worker.errors import WorkerError
from distill_worker.experiments.compare import run_comparison
from distill_worker.experiments.comparison import load_comparison
from distill_worker.experiments.degrade import degrade_weights
from distill_worker.experiments.demo import Demo, run_demo
from distill_worker.methods import described, method_name
from distill_worker.runs.rounds import Bought, SelectedSamples, all_samples, run_in_rounds
from distill_worker.runs.samples import Samples
from distill_worker.runs.targets import find_bought, load_targets
from distill_worker.runs.train_student import train_student
from distill_worker.training.evaluate import count_correct
from distill_worker.training.loop import most_steps
from shared.degradation import Degradation
from shared.weights import WeightsError, load_weights

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Buy a teacher's outputs once, keep them, and train students on them. Start with `distill-worker demo`.",
    epilog="The API key comes from TEACHER_API_KEY, or from the file that TEACHER_API_KEY_FILE names.",
)

app.add_typer(cli_cache.app, name="cache")

TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run the code that the weights file names as its network.")
]
Fresh = Annotated[bool, typer.Option(help="Train again even if the run directory holds a result.")]


@app.command()
def demo(
    data: Annotated[str, typer.Option(help="digits, or fashion-mnist (takes about 15 minutes)")] = "digits",
    n: Annotated[int | None, typer.Option(min=2, help="Calls to spend; 50 for digits, 500 for fashion-mnist.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Students trained with each method.")] = 5,
    quota: Annotated[int | None, typer.Option(min=0, help="Quota of the key, when it is made; twice n.")] = None,
    directory: Annotated[Path, typer.Option(help="Where the demo keeps everything.")] = Path("runs/demo"),
    as_json: AsJson = False,
) -> None:
    """Train a teacher, serve it behind a quota, buy n outputs, and compare CE, KD and CKD students.

    The second run finds the teacher and every bought output where the first left them, and pays for nothing.
    """
    facts = run_demo(Demo.of(data, n=n, seeds=seeds, quota=quota, directory=directory), TERMINAL)
    if as_json:
        print(json.dumps(facts))
    else:
        show_demo(facts)


cli_buying.register(app)


@app.command()
def train(
    config_file: ConfigFile,
    overrides: Overrides = None,
    teacher_id: Annotated[str | None, typer.Option(help="Whose outputs, if the cache holds several teachers'.")] = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Train a student on what the cache holds; asks no teacher. Killed, it goes on from its last checkpoint."""
    config = load_config(config_file, overrides or ())
    samples = all_samples(config)
    targets: dict[str, torch.Tensor] = {}
    owner = None
    if config.needs_teacher:
        with Cache(config.output.cache) as cache:
            output = config.teacher.output
            owner, kinds = find_bought(cache, samples.keys, teacher_id, config.teacher_kinds, output)
            targets = load_targets(cache, owner, samples.keys, kinds)
    _show_result(config, _train(config, samples, (targets, owner), fresh=fresh), as_json=as_json)


@app.command()
def run(
    config_file: ConfigFile,
    overrides: Overrides = None,
    max_calls: MaxCalls = None,
    yes: Yes = False,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Plan, buy what is missing, train and evaluate; in rounds, if `budget.rounds` says so. Killed, it goes on."""
    config = load_config(config_file, overrides or ())

    left = max_calls

    def buy(selected: SelectedSamples) -> Bought:
        nonlocal left
        say_round(config, selected)
        if not config.needs_teacher:
            return {}, None
        made, bought = cli_buying.buy(config, selected, max_calls=left, yes=yes)
        left = None if left is None else max(0, left - bought)
        return bought_targets(config, selected.samples, made), made.teacher_id

    def train(here: RunConfig, samples: Samples, bought: Bought) -> dict[str, Any]:
        return _train(here, samples, bought, fresh=fresh and here is config)

    _show_result(config, run_in_rounds(config, buy=buy, train=train), as_json=as_json)


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the methods: what each needs, where it comes from, and its default parameters with --json."""
    rows = described()
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        show_list(
            ("method", "access", "what it does", "source", "needs"),
            [(row["name"], row["access"], row["summary"], row["paper"], ", ".join(row["needs"])) for row in rows],
        )


@app.command()
def strategies(as_json: AsJson = False) -> None:
    """List the strategies by which samples are chosen (budget.strategy): what each needs and where it comes from."""
    rows = described_strategies()
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        show_list(
            ("strategy", "what it chooses", "needs", "n + 1 hold the n", "source"),
            [(row["name"], row["summary"], ", ".join(row["needs"]), row["nested"], row["paper"]) for row in rows],
        )


@app.command()
def datasets(as_json: AsJson = False) -> None:
    """List the data sets, and what of your own can be read."""
    if as_json:
        print(json.dumps(dict(DATASETS)))
    else:
        show_list(("data set", "what it is"), list(DATASETS.items()))


@app.command()
def compare(
    comparison_file: Annotated[
        Path, typer.Argument(metavar="COMPARISON.toml", help="What to compare; see examples/compare-digits.toml.")
    ],
    jobs: Annotated[int | None, typer.Option(min=1, help="Students trained at once, whatever the file says.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train many methods on the same bought samples, over several n and seeds, and print the table with paired tests.

    Each student is a run of its own: killed, the same command goes on from what is done and pays nothing twice.
    """
    comparison = load_comparison(comparison_file, jobs=jobs)
    facts = run_comparison(comparison, display=TERMINAL)
    if as_json:
        print(json.dumps(facts))
    else:
        show_comparison(facts, as_markdown=as_markdown)


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Argument(help="A weights file, for example runs/.../student.safetensors.")],
    data: Annotated[str | None, typer.Option(help="The data set; by default the one it was trained on.")] = None,
    root: Annotated[Path, typer.Option(help="Where data sets are kept.")] = Path("data"),
    path: Annotated[Path | None, typer.Option(help="The file or folder, for data of your own.")] = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Top-1 accuracy of a trained network on the test split."""
    try:
        card, network, fingerprint = load_weights(weights, trust_code=trust_code)
    except WeightsError as error:
        raise WorkerError(str(error)) from error
    name = data or str(card.provenance.get("data", ""))
    size = card.image_size if name in ("image-folder", "hugging-face") else None
    dataset = load_dataset(name, root, path=path, image_size=size)
    if dataset.image_shape != (card.in_channels, *card.image_size) or len(dataset.class_names) != card.num_classes:
        raise WorkerError(f"data: {dataset.name} does not fit this network, which takes {card.image_size} images")
    test = dataset.test
    correct = count_correct(
        network,
        test.images,
        test.labels,
        mean=card.mean,
        std=card.std,
        resize=card.resize,
        degradation=card.degradation,
    )
    total = len(test.labels)
    facts = {"data": dataset.name, "accuracy": correct / total, "correct": correct, "test_samples": total}
    if as_json:
        print(json.dumps({"fingerprint": fingerprint, **facts}))
    else:
        print(f"{card.network} ({fingerprint}) on {dataset.name}: {correct / total:.2%}, {correct} of {total}")


@app.command()
def degrade(
    weights: Annotated[Path, typer.Argument(help="A weights file.")],
    output: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    prune: Annotated[float, typer.Option(min=0, max=1, help="Share of the smallest weights that become 0.")] = 0.0,
    noise: Annotated[float, typer.Option(min=0, help="Standard deviation of noise on the logits.")] = 0.0,
    decimals: Annotated[int | None, typer.Option(min=0, max=6, help="Digits of the logits that are left.")] = None,
    seed: Annotated[int, typer.Option(help="Of the noise, which is the same for the same image for ever.")] = 0,
    trust_code: TrustCode = False,
) -> None:
    """Make a worse teacher, to see how much a method minds: serve the file as any other.

    For a half-trained teacher set training.stop_after_steps.
    """
    degradation = Degradation(noise=noise, decimals=decimals, seed=seed)
    fingerprint = degrade_weights(
        weights,
        output,
        prune=prune,
        degradation=None if degradation == Degradation(seed=seed) else degradation,
        trust_code=trust_code,
    )
    print(f"{output} ({fingerprint})")


def main() -> None:
    """Run the command; every `WorkerError` becomes one line and exit status 2.

    Told to terminate, it ends as when it is interrupted: answers that are paid for are waited for and kept.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    finally:
        signal.signal(signal.SIGTERM, before)


def _train(config: RunConfig, samples: Samples, bought: Bought, *, fresh: bool) -> dict[str, Any]:
    targets, teacher_id = bought
    with progress_bar(
        f"training {method_name(config.method)}", most_steps(config.training, len(samples.images))
    ) as move:
        return train_student(
            config,
            samples,
            targets,
            teacher_id,
            progress=lambda step, loss: move(step, f"loss {loss:.4f}"),
            fresh=fresh,
        )


def _show_result(config: RunConfig, result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**result, "directory": str(config.output.directory)}))
        return
    print(
        f"{result['method']} {result['network']} on {result['data']}, track {result['track']}, n = {result['n']}, "
        f"seed {result['seed']}: accuracy {result['accuracy']:.2%} "
        f"({result['correct']} of {result['test_samples']}), in {config.output.directory}"
    )

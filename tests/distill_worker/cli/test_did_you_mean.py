"""A mistyped name is answered with the name that was meant, whatever kind of name it is."""

from pathlib import Path

import pytest

from tests.distill_worker.cli.conftest import Command


@pytest.mark.parametrize(
    ("overrides", "meant"),
    [
        (["trainig.steps=5"], "training"),
        (["training.step=5"], "steps"),
        (["training.schedule=cosin"], "cosine"),
        (["method.name=ckdd"], "ckd"),
        (["data.name=fashion_mnst"], "fashion-mnist"),
        (["student.network=resnt8"], "resnet8"),
        (["student.network=torchvision:resnt18"], "resnet18"),
        (["student.network=torchvison:resnet18"], "torchvision"),
        (["budget.strategy=coarse-to-fne"], "coarse-to-fine"),
        (["teacher.protocol=open-inferece"], "open-inference"),
        (["output.trackers=['mflow']", "track=queried"], "mlflow"),
        (["teacher.output=logit"], "logits"),
        (["data.unreadable=skp"], "skip"),
    ],
)
def test_mistyped_name_in_a_configuration(command: Command, config: Path, overrides: list[str], meant: str) -> None:
    arguments = [part for one in overrides for part in ("--set", one)]
    ended = command("run", config, "--set", "method.name=ce", *arguments)
    assert ended.status == 2
    assert f"did you mean {meant!r}?" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["rnu"], "Did you mean 'run'?"),
        (["cache", "sats"], "Did you mean 'stats'?"),
        (["plan", "--jsn"], "Possible options: --json"),
        (["compare", "x.toml", "--engine", "locl"], "'local'"),
        (["export", "x", "--format", "onx"], "'onnx'"),
        (["init", "--data", "digts"], "did you mean 'digits'?"),
        (["init", "--data", "digits", "--student", "wrn16_1"], "did you mean 'wrn_16_1'?"),
        (["networks", "--data", "cifar-100"], "did you mean 'cifar100'?"),
        (["demo", "--data", "digit"], "did you mean 'digits'?"),
        (["sweep", "k-swep"], "did you mean 'k-sweep'?"),
    ],
)
def test_mistyped_word_of_a_command_line(
    command: Command, arguments: list[str], answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command(*arguments)
    assert ended.status == 2
    assert answer in " ".join(ended.stderr.replace("│", " ").split())

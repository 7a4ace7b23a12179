"""Every key is known, every error names its key, and no secret is among them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from distill_worker.config.load import load_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.cells import load_comparison
from distill_worker.methods.ckd import CKD
from distill_worker.methods.single_sample import KD

MINIMAL = 'data.name = "digits"\nstudent.network = "resnet8"\nmethod.name = "ckd"\n'
EXAMPLES = sorted((Path(__file__).parents[3] / "examples").rglob("*.toml"))


def _load(tmp_path: Path, text: str, overrides: Sequence[str] = ()) -> RunConfig:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides)


def test_examples_are_there() -> None:
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads(path: Path) -> None:
    if "[compare]" in path.read_text(encoding="utf-8"):
        assert load_comparison(path).cells
    else:
        assert load_config(path).data.name


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    """T = 4, beta = 1, cross-entropy with weight 1; KD as in RepDistiller; all samples; SGD as published."""
    config = _load(tmp_path, MINIMAL)
    assert config.method == CKD(temperature=4, label_weight=1, beta=1, pairing="all", k=2)
    assert KD() == KD(temperature=4, label_weight=0.1, weight=0.9)
    assert config.budget.n is None
    assert (config.training.momentum, config.training.weight_decay, config.training.batch_size) == (0.9, 5e-4, 64)


@pytest.mark.parametrize(("name", "needs_teacher"), [("ce", False), ("kd", True), ("ckd", True), ("at", True)])
def test_methods_know_whether_they_need_a_teacher(tmp_path: Path, name: str, needs_teacher: bool) -> None:
    assert _load(tmp_path, MINIMAL, [f"method.name={name}"]).needs_teacher is needs_teacher


@pytest.mark.parametrize(
    ("override", "needles"),
    [
        ("budget.m=50", ["budget.m", "unknown key"]),
        ("budgets.n=50", ["budgets", "unknown key"]),
        ("teacher.api_key=hush", ["teacher.api_key", "unknown key", "input_name"]),
        ("teacher.protocol=5", ["teacher.protocol: expected one of", "got 5"]),
        (
            "teacher.protocol=morse",
            ["teacher.protocol: expected one of 'open-inference', 'labelled-scores', 'chat', got 'morse'"],
        ),
        (
            "teacher.labels={cat=0}",
            ["teacher.labels: unknown key with protocol = 'open-inference': only labelled-scores, chat have it; "],
        ),
        (
            "teacher={protocol='labelled-scores', labels={cat=0}, input_name='x'}",
            ["teacher.input_name: ", "protocol = 'labelled-scores'", "only open-inference has it"],
        ),
        ("teacher={protocol='labelled-scores', labels={kd=-1}}", ["teacher.labels.kd: ", "got -1"]),
        ("data.image_size=[0,0]", ["data.image_size: expected a positive height and width, got [0, 0]"]),
        (
            "teacher={protocol='labelled-scores', labels={cat=0}, image_size=[-1,5]}",
            ["image_size: expected a positive height and width, got [-1, 5]"],
        ),
        ("teacher={protocol='labelled-scores'}", ["teacher: labels: expected the class of each label"]),
        ("teacher={protocol='chat', labels={cat=0}}", ["teacher: model: expected the name of the model that answers"]),
        (
            "teacher={protocol='chat', model='m', labels={cat=0}, prompt='What?'}",
            ["teacher.prompt: expected a text with {labels}"],
        ),
        (
            "teacher={protocol='chat', model='m', labels={cat=0}, parameters={logprobs=true}}",
            ["teacher.parameters: expected further fields", "got logprobs, which teacher.top_logprobs sets"],
        ),
        (
            """teacher={protocol='chat', model='m', labels={"(B)"=0, "B"=1}}""",
            ["teacher.labels: expected labels that differ in more than the signs around them, got 'B' twice"],
        ),
        (
            """teacher={protocol='chat', model='m', labels={"a\\nB: dog"=0}}""",
            ["teacher.labels: expected labels of one line"],
        ),
        ("""teacher={protocol='chat', model='m', labels={"."=0}}""", ["expected labels of one line", "got '.'"]),
        (
            "teacher={protocol='chat', model='m', labels={cat=0}, top_logprobs=1}",
            ["teacher.top_logprobs: expected 0, or 2 or more"],
        ),
        (
            "teacher={protocol='chat', model='m', labels={cat=0}, parameters={since=2026-01-01}}",
            ["teacher.parameters: expected values that JSON has"],
        ),
        ("teacher={protocol='chat', model='m', labels={cat=0}, answer={}}", ["answer", "only labelled-scores has it"]),
        ("method={temperature=2}", ["method.name: required, but absent"]),
        ("budget.n=many", ["budget.n", "expected a whole number", "'many'"]),
        ("budget.n=1", ["budget.n", "at least 2", "got 1"]),
        ("budget.n=2.5", ["budget.n", "expected a whole number", "2.5"]),
        ("training.learning_rate=-0.1", ["training.learning_rate", "more than 0", "-0.1"]),
        ("training.momentum=1", ["training.momentum", "less than 1", "got 1"]),
        ("training.device=tpu", ["training.device", "'cpu'", "'tpu'"]),
        ("training.precision=half", ["training.precision", "'bfloat16'", "got 'half'"]),
        ("training.channels_last=3", ["training", "channels_last: expected true or false, got 3"]),
        (
            "training={channels_last=true, memory_format='contiguous'}",
            ["training", "channels_last: expected no memory_format beside it", "leave out channels_last"],
        ),
        ("training=5", ["training", "got 5"]),
        ("data.name=imagenet", ["data.name", "digits, ", "'imagenet'"]),
        ("teacher.url=localhost:8000", ["teacher.url", "begins with http:// or https://", "'localhost:8000'"]),
        ("augmentation.horizontal_flip=maybe", ["augmentation.horizontal_flip", "expected true or false", "'maybe'"]),
        ("method.name=mkd", ["method.name: expected one of ", "'mkd'", "'ce', 'kd', ", "'ckd'"]),
        ("method.k=65", ["method.k", "at most the batch (64 samples)", "got 65"]),
        ("method.label_term=comparative", ["label_term 'comparative'", "on = 'features'"]),
        ("track=unlabelled-pool", ["track", "[self_training]", "pseudo-label", "'unlabelled-pool'", "ckd"]),
        ("self_training.rounds=2", ["self_training", "one round", "'queried'"]),
        ("self_training.policy=weak", ["self_training.policy", "'strong'", "got 'weak'"]),
        ("self_training.rounds=0", ["self_training.rounds", "at least 1", "got 0"]),
        ("self_training.bought_share=1", ["self_training.bought_share", "less than 1", "got 1"]),
        ("self_training.threshold=0.9", ["self_training.threshold", "unknown key", "bought_share"]),
        (
            "method={name='ckd', divergence='mse', pairing='anchors'}",
            ["method", "divergence 'mse'", "got 'difference' and 'anchors'", "use the method mse"],
        ),
        ('plus=[{name="kd", label_weight=0.5}]', ["plus", "label_weight", "[[plus]]"]),
        ('plus=[{name="ckd"}]', ["plus", "different methods", "ckd, ckd"]),
        ('plus=[{name="mixup"}, {name="dkd"}]', ["plus", "dkd needs one true label a sample"]),
        ('plus=[{name="mixup"}, {name="crd"}]', ["plus", "crd needs samples that come again"]),
        ('plus=[{name="mixup"}, {name="cutmix"}]', ["plus", "at most one method that mixes"]),
        ('plus=[{name="mixup", mixtures=5}]', ["plus.0", "mixtures", "targets = 'requeried'", "got 5"]),
        ('plus=[{name="kd", alpha=1}]', ["plus.0.alpha", "unknown key", "temperature"]),
        ("training={protocol='paper', averaging='ema'}", ["training", "averaging: expected 'none'", "got 'ema'"]),
        ("training.averaging=mean", ["training.averaging", "'swa'", "got 'mean'"]),
        ("training={protocol='paper', validation_share=0}", ["training", "validation_share", "more than 0"]),
        ("corruption.label_noise.rate=2", ["corruption.label_noise.rate", "at most 1", "got 2"]),
        ("corruption.imbalance={ratio=1}", ["corruption.imbalance.ratio", "more than 1", "got 1"]),
        ("training.learning_rate=inf", ["training.learning_rate", "finite", "inf"]),
        ("method.temperature=inf", ["temperature", "finite", "inf"]),
        ("method.temperature=nan", ["temperature", "nan"]),
    ],
)
def test_bad_value_is_told_with_key_expectation_and_finding(
    tmp_path: Path, override: str, needles: Sequence[str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        _load(tmp_path, MINIMAL, ["method.on=features", override] if "label_term" in override else [override])
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'run.toml'}: ")
    assert [needle for needle in needles if needle not in message] == []
    assert "hush" not in message


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["method.name=dkd"], "dkd needs one true label a sample, which an unbought image lacks; use another method"),
        (['plus=[{name="pseudo-label"}]'], r"pseudo-label learns from the pool by itself; leave it out, or \[self_tr"),
        (["method.on=features"], "ckd needs the teacher's features, which an unbought image lacks"),
        (
            ["method.name=rkd"],
            r"rkd needs logits, and an unbought image has only a distribution: .* 'log_probabilities'",
        ),
        (["training.protocol=paper"], "expected training.protocol = 'steps', got 'paper'"),
    ],
)
def test_run_that_cannot_train_itself_is_rejected_with_the_reason(
    tmp_path: Path, overrides: list[str], reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"self_training: {reason}"):
        _load(tmp_path, MINIMAL, ["track=unlabelled-pool", "self_training.rounds=1", *overrides])


@pytest.mark.parametrize("method", ["ce", "kd", "ckd", "dist", "mixup"])
def test_methods_on_distributions_can_train_themselves(tmp_path: Path, method: str) -> None:
    overrides = ["track=unlabelled-pool", "self_training.rounds=1", f"method.name={method}"]
    assert _load(tmp_path, MINIMAL, overrides).self_training is not None


def test_members_have_the_students_network_unless_they_have_their_own(tmp_path: Path) -> None:
    overrides = ["track=unlabelled-pool", "self_training.rounds=1"]
    for added, expected in (([], "resnet8"), (["self_training.network=resnet20"], "resnet20")):
        config = _load(tmp_path, MINIMAL, [*overrides, *added])
        assert config.self_training is not None
        assert config.self_training.student(config.student).network_to_build == expected


def test_network_of_members_may_be_a_file_beside_the_configuration(tmp_path: Path) -> None:
    config = _load(tmp_path, MINIMAL + 'track = "unlabelled-pool"\nself_training.network = "own.py:wide"\n')
    assert config.self_training is not None
    assert config.self_training.student(config.student).network_to_build == f"{tmp_path / 'own.py'}:wide"
    assert "network_file" not in config.identity.values["self_training"]


@pytest.mark.parametrize(("key", "value"), [("temperature", "0"), ("alpha", "1"), ("k", "1")])
def test_key_of_a_method_is_named_as_it_is_written(tmp_path: Path, key: str, value: str) -> None:
    """What the message names can be given to --set."""
    with pytest.raises(ConfigError, match=rf": method\.{key}: "):
        _load(tmp_path, MINIMAL, [f"method.{key}={value}"])


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"student: required.*budget\.n.*budget\.x|budget\.n.*budget\.x.*student"):
        _load(tmp_path, 'data.name = "digits"\nmethod.name = "ce"\nbudget = {n = 1, x = 1}\n')


def test_overrides_win_over_the_file_and_the_last_wins(tmp_path: Path) -> None:
    """TOML values, bare words, sections that the file lacks, and values that hold an equals sign."""
    text = MINIMAL + "[training]\nsteps = 5\nseed = 3\n"
    config = _load(
        tmp_path,
        text,
        ["training.steps=6", "training.steps=7", "training.device=cpu", "budget.n = 50", "output.directory=a=b/c"],
    )
    assert (config.training.steps, config.training.seed, config.training.device) == (7, 3, "cpu")
    assert config.budget.n == 50
    assert config.output.directory == Path("a=b/c").absolute()


@pytest.mark.parametrize("override", ["training.steps", "=5", "training.=5", ".steps=5", "data.name.x=5"])
def test_malformed_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        _load(tmp_path, MINIMAL, [override])


def test_saved_configuration_loads_again(tmp_path: Path) -> None:
    """What a run directory keeps is the configuration, whole."""
    overrides = ["method.pairing=drawn", "method.k=4", "budget.n=9", 'plus=[{name="kd"}]']
    config = _load(tmp_path, MINIMAL, overrides)
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_kinds_to_buy_are_those_of_all_methods(tmp_path: Path) -> None:
    """One call buys them all, so they are bought together."""
    config = _load(tmp_path, MINIMAL, ['plus=[{name="fitnet", teacher_layer="stage3"}]'])
    assert config.teacher_kinds == ("features.stage3", "logits")
    assert _load(tmp_path, MINIMAL, ["method.name=ce", 'plus=[{name="rkd", on="features"}]']).teacher_kinds == (
        "features.pooled",
        "logits",
    )


@pytest.mark.parametrize(
    ("overrides", "share"),
    [([], 0.0), (["training.protocol=paper"], 0.2), (["training.validation_share=0.5"], 0.5)],
)
def test_validation_share_goes_with_the_protocol(tmp_path: Path, overrides: list[str], share: float) -> None:
    assert _load(tmp_path, MINIMAL, overrides).training.validated_share == share

"""Methods as one expression."""

import pytest

from distill_worker.errors import ConfigError
from distill_worker.methods.base import method_name
from distill_worker.methods.ckd import CKD
from distill_worker.methods.expression import methods_in, sections
from distill_worker.methods.single_sample import KD


def test_names_and_parameters_become_sections() -> None:
    """Numbers, words with and without quotes, and true or false, with spaces anywhere."""
    text = " kd(temperature = 2.5, label_weight=0)+ckd( pairing=anchors, by_classes=True ) + pseudo-label"
    assert sections(text) == [
        {"name": "kd", "temperature": 2.5, "label_weight": 0},
        {"name": "ckd", "pairing": "anchors", "by_classes": True},
        {"name": "pseudo-label"},
    ]
    assert sections("ckd(pairing='drawn', k=3)") == [{"name": "ckd", "pairing": "drawn", "k": 3}]


def test_methods_have_their_defaults() -> None:
    kd, ckd = methods_in("kd + ckd(pairing=anchors)")
    assert (kd, ckd) == (KD(), CKD(pairing="anchors"))
    assert [method_name(method) for method in methods_in("ce")] == ["ce"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kdd", "got 'kdd'; did you mean 'kd'"),
        ("kd(temprature=2)", "kd has no parameter 'temprature'; expected one of .*; did you mean 'temperature'"),
        ("kd(temperature=-1)", "kd.temperature: expected more than 0, got -1"),
        ("ckd(pairing=anchor)", "got 'anchor'; did you mean 'anchors'"),
        ("ckd(pairing=anchors, divergence=mse)", "by squared error these compare nothing"),
        ("kd + kd", "expected different methods, got kd, kd"),
        ("kd + ckd(label_weight=2)", "label_weight is set by the first method"),
        ("kd(temperature=2, temperature=3)", "expected each parameter once, got 'temperature' again"),
        ("kd(name=ckd)", "expected each parameter once, got 'name' again"),
        ("kd(4)", r"expected parameter=value in the brackets, .*got '4'"),
        ("", "expected names of methods with a [+] between them"),
        ("kd +", "expected names of methods with a [+] between them"),
        ("kd ckd", "expected names of methods with a [+] between them"),
        ("kd(temperature=2", "expected names of methods with a [+] between them"),
    ],
)
def test_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        methods_in(text)

"""Who works when, and what is divided by what."""

from benchmarks.training.turns import in_turns, mean_interval, ratios


def test_every_second_round_goes_backwards_and_the_warm_up_is_not_counted() -> None:
    order: list[str] = []

    def subject(name: str) -> float:
        order.append(name)
        return float(len(order))

    seconds = in_turns({"a": lambda: subject("a"), "b": lambda: subject("b")}, rounds=2)
    assert order == ["a", "b", "a", "b", "b", "a"]
    assert seconds == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


def test_ratio_is_taken_within_a_round() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_interval_is_from_the_end_of_the_first_step() -> None:
    assert mean_interval([7.0, 8.0, 11.0]) == 2.0

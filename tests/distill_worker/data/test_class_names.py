"""Classes by name, against orders worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_worker.data.class_names import class_order
from distill_worker.errors import ConfigError

ANIMALS = ("ant", "bee", "cow")
NUMBERED = [f"class {number:04}" for number in range(1000)]


def _order(
    data: "list[str] | tuple[str, ...]", network: "list[str] | tuple[str, ...] | None", **options: object
) -> tuple[int, ...] | None:
    return class_order(data, network, network="the teacher", remedy="the remedy", **options)  # type: ignore[arg-type]


def test_same_names_in_the_same_order_need_no_mapping() -> None:
    assert _order(ANIMALS, list(ANIMALS)) is None


def test_another_order_is_mapped_by_name() -> None:
    """Class 0 of the data set is class 1 of the teacher, and so on."""
    assert _order(ANIMALS, ["cow", "ant", "bee"]) == (1, 2, 0)


@given(
    st.lists(st.text(max_size=3), min_size=2, max_size=5, unique=True).flatmap(
        lambda names: st.tuples(st.just(names), st.permutations(names))
    )
)
def test_order_finds_each_name(lists: tuple[list[str], list[str]]) -> None:
    data, network = lists
    order = _order(data, network)
    assert [network[place] for place in order or range(len(data))] == data


def test_table_maps_names_that_differ() -> None:
    assert _order(ANIMALS, ["Ant", "bee", "cow"], renamed={"ant": "Ant"}) is None
    assert _order(ANIMALS, ["bee", "cow", "Ameise"], renamed={"ant": "Ameise"}) == (2, 0, 1)


def test_table_may_swap_two_names() -> None:
    assert _order(ANIMALS, ANIMALS, renamed={"ant": "bee", "bee": "ant"}) == (1, 0, 2)


def test_other_names_are_an_error_with_both_lists_and_the_remedy() -> None:
    expected = (
        r"^data: expected the classes of the teacher, 'Ant', 'bee', 'dog', got 'ant', 'bee', 'cow' in the data set "
        r"\(did you mean 'Ant' by 'ant'\?\); the remedy$"
    )
    with pytest.raises(ConfigError, match=expected):
        _order(ANIMALS, ["Ant", "bee", "dog"])


def test_error_on_many_classes_lists_those_that_differ_and_counts_the_rest() -> None:
    shifted = [f"Class-{name[6:]}" if place < 30 else name for place, name in enumerate(NUMBERED)]
    with pytest.raises(ConfigError, match="the 1000 classes of the teacher, got 1000") as error:
        _order(NUMBERED, shifted)
    message = str(error.value)
    assert "only in the data set: 'class 0000', " in message
    assert "only in the teacher: 'Class-0000', " in message
    assert message.count("and 20 more") == 2
    assert "did you mean 'Class-0000' by 'class 0000'?" in message
    assert len(message) < 800


@pytest.mark.parametrize("network", [["0", "1", "2"], None])
def test_numbers_in_place_of_names_are_not_compared(network: list[str] | None) -> None:
    assert _order(ANIMALS, network) is None


def test_data_set_without_names_is_not_compared() -> None:
    assert _order(["0", "1", "2"], ANIMALS, is_named=False) is None


@pytest.mark.parametrize(("network", "is_named"), [(["0", "1"], True), (["ant", "bee"], False)])
def test_another_number_of_names_is_an_error(network: list[str], is_named: bool) -> None:
    with pytest.raises(
        ConfigError, match=r"^data: expected the classes of the teacher, '\w+', '\w+', got '0', '1', '2'"
    ):
        _order(["0", "1", "2"], network, is_named=is_named)


def test_digits_are_names_where_the_data_set_says_so() -> None:
    """MNIST against a teacher of clothes: both have ten classes of grey 28x28 images."""
    with pytest.raises(ConfigError, match="expected the classes of the teacher, 'ant'"):
        _order(["0", "1", "2"], ANIMALS)


@pytest.mark.parametrize("is_named", [True, False])
def test_numbers_in_another_order_are_mapped(is_named: bool) -> None:
    """Folders sort 10 before 2."""
    numbers = [str(number) for number in range(11)]
    order = _order(numbers, sorted(numbers), is_named=is_named)
    assert order == (0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 2)
    assert _order(sorted(numbers), numbers, is_named=is_named) == (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9)


@pytest.mark.parametrize(
    ("renamed", "network", "message"),
    [
        ({"aunt": "ant"}, ANIMALS, r"expected classes of the data set \('ant', .*, got 'aunt' \(did you mean 'ant'"),
        ({"ant": "Anty"}, ANIMALS, r"expected classes of the teacher \('ant', .*, got 'Anty' \(did you mean 'ant'"),
        ({"ant": "x"}, None, ".* the teacher states no class names, got names for 'ant'; list .* teacher.class_names"),
    ],
)
def test_table_is_checked_both_ways(renamed: dict[str, str], network: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^data.classes: {message}"):
        _order(ANIMALS, network, renamed=renamed)


def test_classes_of_one_name_cannot_be_mapped() -> None:
    assert _order(["crane", "crane"], ["crane", "crane"]) is None
    with pytest.raises(ConfigError, match="expected a name of its own for each class, got 'crane' more than once"):
        _order(["crane", "crane", "cow"], ["cow", "crane", "crane"])


def test_table_that_gives_two_classes_one_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="got 'bee' more than once"):
        _order(ANIMALS, ANIMALS, renamed={"ant": "bee"})

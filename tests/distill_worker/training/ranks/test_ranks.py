"""What ranks exchange: rows, gradients, buffers, and whether they have the same run."""

import pytest
import torch
from torch import Tensor, nn

from distill_worker.errors import ConfigError
from distill_worker.training.ranks.group import ALONE, Ranks, opened
from distill_worker.training.ranks.launch import check_alone, launch
from distill_worker.training.ranks.network import follow_first, sum_gradients
from distill_worker.training.ranks.rows import check_rows, own_rows, whole_parts, whole_rows
from tests.distill_worker.training.ranks.threads import on_ranks, torchrun

ROWS = torch.arange(14.0).view(7, 2)


def test_every_row_belongs_to_one_rank_and_none_has_two_more_than_another() -> None:
    parts = on_ranks(3, lambda ranks: own_rows(ranks, ROWS))
    assert torch.equal(torch.cat(parts), ROWS)
    assert sorted(map(len, parts)) == [2, 2, 3]


def test_whole_rows_carry_the_gradient_of_the_own_ones() -> None:
    def squared(ranks: Ranks) -> tuple[Tensor, Tensor | None]:
        own = own_rows(ranks, ROWS).clone().requires_grad_()
        rows = whole_rows(ranks, own, len(ROWS))
        rows.sum().square().backward()  # type: ignore[no-untyped-call]
        return rows.detach(), own.grad

    for rows, gradient in on_ranks(3, squared):
        assert torch.equal(rows, ROWS)
        assert gradient is not None
        assert (gradient == 2 * ROWS.sum()).all()


def test_batches_that_went_through_the_network_together_come_back_apart() -> None:
    pool = ROWS[:5] + 100

    def apart(ranks: Ranks) -> list[Tensor]:
        together = torch.cat([own_rows(ranks, ROWS), own_rows(ranks, pool)])
        return whole_parts(ranks, together, [len(ROWS), len(pool)])

    for first, second in on_ranks(2, apart):
        assert torch.equal(first, ROWS)
        assert torch.equal(second, pool)


def test_batch_with_fewer_rows_than_ranks_is_an_error() -> None:
    check_rows(Ranks(0, 3), 3)
    with pytest.raises(ConfigError, match="at least 3 samples, one for each rank, got 2"):
        check_rows(Ranks(0, 3), 2)


def test_gradients_are_sums_and_those_of_the_objective_are_rank_0s() -> None:
    """A parameter that one rank alone uses gets its gradient everywhere; one that no rank uses gets none."""

    def gradients(ranks: Ranks) -> list[Tensor | None]:
        network, objective = nn.ParameterList([torch.zeros(2), torch.zeros(1), torch.zeros(1)]), nn.Linear(1, 1)
        for parameter in (network[0], *objective.parameters()):
            parameter.grad = torch.full_like(parameter, ranks.rank + 1.0)
        if not ranks.is_first:
            network[1].grad = torch.tensor([5.0])
        sum_gradients(ranks, network, objective)
        return [parameter.grad for parameter in (*network, *objective.parameters())]

    for both, one, none, *own in on_ranks(2, gradients):
        assert both is not None
        assert both.tolist() == [3, 3]
        assert one is not None
        assert one.tolist() == [5]
        assert none is None
        assert [gradient.item() for gradient in own if gradient is not None] == [1, 1]


def test_buffers_follow_rank_0() -> None:
    def buffers(ranks: Ranks) -> list[Tensor]:
        network = nn.BatchNorm1d(2)
        for buffer in network.buffers():
            buffer.fill_(ranks.rank + 3)
        follow_first(ranks, network)
        return [*network.buffers()]

    assert all((buffer == 3).all() for rank in on_ranks(2, buffers) for buffer in rank)


def test_rank_with_another_run_is_named_with_what_differs() -> None:
    def check(ranks: Ranks) -> str:
        facts = {
            "training": {"seed": int(ranks.rank == 2), "steps": 3},
            "samples": "a",
            "x": [1],
            "y": 1,
            "z": ranks.rank // 2,
        }
        if ranks.rank == 2:
            del facts["y"]
            facts["samples"] = "b"
        with pytest.raises(ConfigError) as caught:
            ranks.check_alike(facts)
        return str(caught.value)

    (message,) = set(on_ranks(3, check))
    assert message.startswith("rank 2 of 3: expected the run of rank 0, got another one: samples, training.seed, y")
    assert "y and 1 more differ" in message
    ALONE.check_alike({})


def test_rank_0_does_its_part_before_the_others() -> None:
    order: list[int] = []

    def work(ranks: Ranks) -> None:
        with ranks.first_before_others():
            order.append(ranks.rank)

    on_ranks(3, work)
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2]


@pytest.mark.parametrize("size", ["4", "", "four"])
def test_process_without_torchrun_is_alone(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's own WORLD_SIZE is not torchrun's."""
    monkeypatch.setenv("WORLD_SIZE", size)
    assert launch() is None


def test_single_process_of_torchrun_is_alone_and_joins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, torchrun(1))
    with opened() as ranks:
        assert ranks is ALONE
        assert not torch.distributed.is_initialized()
    check_alone("run")


def test_command_that_several_processes_would_repeat_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, torchrun(4))
    with pytest.raises(ConfigError, match=r"fetch: expected one process, got 4 .* nothing was spent"):
        check_alone("fetch")


def _set(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

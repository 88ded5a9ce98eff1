"""An epoch's batches: every video once, every text once, the same whoever else is in the fleet."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plfeat.train.batches import distinct, epoch_plan, steps_of

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 6), min_size=5, max_size=5), min_size=1, max_size=4))
def test_distinct_holds_every_value_once_and_says_where_it_stands(rows: list[list[int]]) -> None:
    once, place, count = distinct(torch.tensor(rows))
    for row, values in enumerate(rows):
        kinds = sorted(set(values))
        assert once[row, : int(count[row])].tolist() == kinds
        assert set(once[row, int(count[row]) :].tolist()) <= {kinds[0]}
        assert once[row][place[row]].tolist() == values


@settings(deadline=None, max_examples=25)
@given(videos=st.integers(2, 40), batch=st.integers(2, 17), per_class=st.integers(1, 3), epoch=st.integers(0, 3))
def test_every_video_comes_once_an_epoch_with_its_label_and_a_text_of_its_class(
    videos: int, batch: int, per_class: int, epoch: int
) -> None:
    labels = torch.arange(videos) % 5
    chosen = torch.arange(videos).expand(2, -1)
    plan = list(epoch_plan((0, 7), epoch, chosen, labels, batch, 2, per_class, CPU))
    assert len(plan) == steps_of(videos, batch)
    for member in range(2):
        seen = torch.cat([step.video_EB[member] for step in plan]).tolist()
        left_out = 1 if videos % batch == 1 else 0
        assert len(seen) == len(set(seen)) == videos - left_out
        for step in plan:
            assert torch.equal(step.label_EB[member], labels[step.video_EB[member]])
            own = step.texts_EU[member][step.own_EB[member]]
            assert torch.equal(own // per_class, step.label_EB[member])
            assert int(step.view_EB.max()) < 2


def test_a_members_order_depends_on_its_seed_and_the_epoch_alone() -> None:
    labels = torch.arange(30) % 4

    def order(seeds: tuple[int, ...], epoch: int) -> torch.Tensor:
        plan = epoch_plan(seeds, epoch, torch.arange(30).expand(len(seeds), -1), labels, 8, 1, 1, CPU)
        return torch.cat([step.video_EB for step in plan], dim=1)

    assert torch.equal(order((0, 5), 3)[1], order((5,), 3)[0])
    assert not torch.equal(order((5,), 3), order((5,), 4))
    assert not torch.equal(order((5,), 3), order((6,), 3))

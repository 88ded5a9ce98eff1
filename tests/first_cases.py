"""Which of the acceptance tests a gate has time for: of each its first case, but none of the longest.

All of them: `pytest -m acceptance`. Those that are `slow` as well: `.ci/run`.
"""

import pytest

LONG = {
    "test_killed_again_and_again_it_still_gets_there",
    "test_of_a_slow_extraction_a_kill_never_loses_more_than_a_minute",
    "test_a_ray_cluster_makes_the_same_bits",
    "test_gc_beside_a_running_extraction_takes_nothing_from_it_and_says_that_the_store_is_busy",
    "test_counts_of_a_billion_take_no_memory",
    "test_pointers_of_a_billion_take_no_memory",
    "test_a_store_that_was_carried_away_trains_scores_and_reports",
    "test_a_newer_av_makes_16_videos_again_and_then_none",
    "test_a_newer_av_with_nothing_to_add_decodes_nothing_or_16_once",
    "test_workers_and_neighbours_do_not_matter_to_a_bit",
    "test_parts_made_into_one_folder_need_no_merge",
}


def mark(items: list[pytest.Item]) -> None:
    chosen = set(LONG)
    for item in items:
        name = getattr(item, "originalname", item.name)
        if item.get_closest_marker("acceptance") and name not in chosen:
            item.add_marker(pytest.mark.slow)
            chosen.add(name)

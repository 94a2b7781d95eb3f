"""How many actors a batch starts on a Ray cluster by default, and with which CPUs."""

import pytest

from bridge.batch.folder import BatchError
from bridge.batch.options import RayOptions
from bridge.batch.ray_cluster import actors_for

_TWO = {"CPU": 2.0}
_EIGHT = {"CPU": 8.0}
_GPUS = {"CPU": 32.0, "GPU": 8.0}
_HEAD = {"memory": 1e9}
"""A node whose CPUs Ray does not use, such as the head of a RayJob."""

ROWS = [
    ([_TWO], RayOptions(), 32, (1, 2)),
    ([_TWO], RayOptions(), 96, (2, 1)),
    ([_HEAD, _TWO, _TWO, _TWO, _TWO], RayOptions(), 64, (4, 2)),
    ([_EIGHT, _TWO], RayOptions(), 8, (5, 2)),
    ([_EIGHT], RayOptions(), 512, (8, 1)),
    ([_EIGHT], RayOptions(), 200, (4, 2)),
    ([_EIGHT], RayOptions(num_actors=3), 32, (3, 2)),
    ([_EIGHT], RayOptions(num_actors=1), 32, (1, 8)),
    ([_EIGHT], RayOptions(num_actors=12), 32, (12, 1)),
    ([{"CPU": 3.0}, {"CPU": 3.0}], RayOptions(actor_cpus=2), 32, (2, 2)),
    ([_EIGHT], RayOptions(actor_cpus=0.5), 4, (4, 0.5)),
    ([_GPUS, _GPUS, _TWO], RayOptions(actor_gpus=1), 64, (16, 4)),
    ([_GPUS], RayOptions(actor_gpus=4), 64, (2, 16)),
]


@pytest.mark.parametrize(("nodes", "options", "concurrency", "expected"), ROWS)
def test_actors_use_the_nodes(
    nodes: list[dict[str, float]], options: RayOptions, concurrency: int, expected: tuple[int, float]
) -> None:
    assert actors_for(nodes, options, concurrency) == expected


@pytest.mark.parametrize("options", [RayOptions(actor_cpus=3), RayOptions(actor_gpus=1)])
def test_no_actor_fits(options: RayOptions) -> None:
    with pytest.raises(BatchError, match="which has 4 CPUs, 0 GPUs"):
        actors_for([_TWO, _TWO, _HEAD], options, 32)

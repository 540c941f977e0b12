"""A job on a cluster: Ray Data hands shards to actors that hold one worker each, and replaces those that die."""

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hasten.errors import InputError, MissingError
from hasten.offline.hand import Hand
from hasten.offline.inputs import Place

CONNECT_S = 5.0
STARTS = 3  # of a cluster of its own: Ray gives itself 30 s, which is little beside other work


def answers(
    shards: Mapping[int, Sequence[Place]],
    paths: Mapping[int, Path],
    opened: Mapping[str, Any],
    plan: Mapping[str, Any],
    address: str = "",
) -> Iterator[tuple[int, dict[str, Any]]]:
    """As hasten.offline.local.answers; every machine of the cluster sees bundle, inputs and parts under the same paths.

    Args:
        address: of a cluster; empty: one of its own on this machine, which ends with the job.

    Raises:
        MissingError: Ray is not installed.
        InputError: there is no cluster at that address, or a shard fails for good.
    """
    ray = _ray(address)
    try:
        rows = [sent(i, shard, paths[i]) for i, shard in shards.items()]
        if not rows:
            return
        ray.data.DataContext.get_current().enable_progress_bars = False
        size = actors(plan, float(ray.cluster_resources().get("CPU", 1)) if address else None)
        made = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            Answering,
            fn_constructor_args=(dict(opened) | {"bundle": str(Path(opened["bundle"]).absolute())}, plan["batch"]),
            compute=ray.data.ActorPoolStrategy(size=min(size, len(rows)), max_tasks_in_flight_per_actor=2),
            num_cpus=plan["threads"] or 1,
        )
        try:
            for row in made.iter_rows():
                yield int(row["index"]), json.loads(row["answer"])
        except (ray.exceptions.RayError, ray.exceptions.RayTaskError) as fault:
            said = str(fault).strip().splitlines()[-1]
            raise InputError(f"the cluster ends the job: {said[:300]}", "see to it, then add --resume") from fault
    finally:
        ray.shutdown()


def sent(index: int, shard: Sequence[Place], path: Path) -> dict[str, Any]:
    """A row for an actor, whose working directory is another: paths are absolute, ids as they are."""
    places = [tuple(p._replace(path=str(Path(p.path).absolute()))) for p in shard]
    return {"index": index, "path": str(path.absolute()), "places": json.dumps(places)}


def actors(plan: Mapping[str, Any], cpus: float | None) -> int:
    """How many there are: those of the plan, which is of one machine; of a cluster as many as have room.

    Args:
        cpus: of the cluster; None: of this machine alone.
    """
    if cpus is None or not plan["threads"]:  # an engine with all cores of whichever machine it is on
        return int(plan["workers"])
    return max(int(plan["workers"]), int(cpus // plan["threads"]))


class Answering:
    """An actor."""

    def __init__(self, opened: dict[str, Any], batch: int) -> None:
        self._hand = Hand(opened, batch)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        places = [Place(*p) for p in json.loads(row["places"])]
        return {"index": row["index"], "answer": json.dumps(self._hand.shard(places, Path(row["path"])))}


def _ray(address: str) -> Any:
    """The package, connected to a cluster."""
    try:
        import ray
        import ray.data
    except ImportError as fault:
        raise MissingError("Ray is not installed", "pip install 'hasten[ray]'") from fault
    host, _, port = address.partition(":")
    for left in reversed(range(1 if address else STARTS)):
        try:
            if port.isdigit():  # Ray itself would wait for minutes
                socket.create_connection((host, int(port)), CONNECT_S).close()
            ray.init(address=address or "local", include_dashboard=False, log_to_driver=False, configure_logging=False)
        except Exception as fault:  # ConnectionError and others
            ray.shutdown()
            if not left:
                where = address or "this machine"
                raise InputError(f"there is no Ray cluster at {where} ({fault})", "ray start --head") from fault
        else:
            break
    return ray

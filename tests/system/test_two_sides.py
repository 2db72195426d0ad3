"""Edge and gateway as processes of their own; the gateway away, killed and back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import free_offset
from tests.support.instance import Instance

FILES = 30


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Instance, Instance]]:
    offset = free_offset()
    topics = '["only-file"]'
    gateway = Instance(tmp_path / "gateway", side="gateway", offset=offset, CYTOBUS_PIPELINES__TOPICS=topics)
    edge = Instance(tmp_path / "edge", side="edge", offset=offset)
    yield gateway, edge
    edge.close()
    gateway.close()


@pytest.mark.system
def test_what_the_edge_finds_while_the_gateway_is_away_comes_back_when_it_is_there(
    sides: tuple[Instance, Instance],
) -> None:
    gateway, edge = sides
    edge.start()
    for number in range(FILES):
        edge.drop(f"early {number}.dat", b"early %d" % number)

    def hashed() -> bool:
        return edge.ask("GET", "file-watcher", "/api/v1/files").json()["counts"].get("hashed", 0) == FILES

    edge.wait_for(hashed, 60, "the edge did not go on without its gateway")
    gateway.start()
    gateway.add_task("only-file")
    for number in range(FILES):
        edge.drop(f"late {number}.dat", b"late %d" % number)
    gateway.kill()
    gateway.start()
    edge.wait_for(lambda: len(list(edge.output.glob("*-sim.dat"))) >= FILES, 120, "the outputs did not come back")

    def ended() -> bool:
        counts = gateway.counts()
        return counts.get("complete", 0) + counts.get("unmatched", 0) == 2 * FILES

    gateway.wait_for(ended, 120, "not every file came to its end")
    for number in range(FILES):
        assert (edge.output / f"late {number}-sim.dat").read_bytes() == b"late %d" % number
    assert edge.stop() == 0
    assert gateway.stop() == 0

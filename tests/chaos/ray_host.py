"""A process with a Ray cluster of two nodes on this machine, that drives runs on it while its actors and nodes die."""

from __future__ import annotations

import random
import threading
from multiprocessing.connection import Connection

import psutil
from chaos_drive import Drive
from strikes import Target, exit_inside_a_forward, kill, strike


def serve(connection: Connection) -> None:
    """Answer (drive, kinds, seed) with (exit code, kinds that hit) until the pipe is closed."""
    host = _Cluster()
    try:
        while True:
            try:
                drive, kinds, seed = connection.recv()
            except EOFError:
                return
            connection.send(host.drive(drive, kinds, random.Random(seed)))
    finally:
        host.close()


#: A driver that ended with an exception, which its thread has printed.
FAILED = 70


class _Cluster:
    """Head and a second node with one CPU each, so that each holds one of two actors."""

    def __init__(self) -> None:
        import ray
        from ray.cluster_utils import Cluster

        quiet = {"include_dashboard": False, "object_store_memory": 100 * 2**20}
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **quiet})
        self.node = self._add_node()
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level="ERROR")

    def _add_node(self) -> object:
        return self.cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)

    def close(self) -> None:
        import ray

        ray.shutdown()
        self.cluster.shutdown()

    def drive(self, drive: Drive, kinds: list[str], rng: random.Random) -> tuple[int, list[str]]:
        """Run the driver in a thread and strike from here: nodes have to be made on the main thread."""
        codes: list[int] = []
        driver = threading.Thread(target=lambda: codes.append(_exit_code(drive)))
        driver.start()
        target = Target(psutil.Process(), "ray::_Actor", drive.notes, driver.is_alive)
        blows = {"ray actor": kill, "ray actor in a forward": exit_inside_a_forward, "ray node": self._kill_node}
        hit = strike(kinds, blows, target, rng)
        driver.join()
        return codes[0] if codes else FAILED, hit

    def _kill_node(self, target: Target, rng: random.Random) -> bool:
        """SIGKILL the second node's processes while it has work; then a new node joins."""
        if target.victim(rng) is None:
            return False
        self.cluster.remove_node(self.node, allow_graceful=False)
        self.node = self._add_node()
        return True


def _exit_code(drive: Drive) -> int:
    try:
        drive()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0

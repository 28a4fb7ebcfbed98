"""The files that a cluster consumes have the right shape and start commands that exist."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import click
import pytest
import yaml

from jobs.main import cli

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def _parse(command_line: str) -> click.Context:
    """Parse a `neuronmill …` command line; raises click's own error if it is wrong."""
    program, name, *arguments = shlex.split(command_line)
    assert Path(program).name == "neuronmill"
    command = cli.get_command(click.Context(cli, **cli.context_settings), name)
    assert command is not None
    return command.make_context(name, arguments, parent=click.Context(cli, **cli.context_settings))


@pytest.fixture(scope="module")
def ray_job() -> dict:
    return yaml.safe_load((DEPLOY / "ray-job.yaml").read_text(encoding="utf-8"))


def test_the_ray_job_starts_a_command_that_exists(ray_job):
    assert (ray_job["apiVersion"], ray_job["kind"]) == ("ray.io/v1", "RayJob")
    context = _parse(ray_job["spec"]["entrypoint"])
    assert context.params["kind"] == "ray"
    assert context.params["address"] == "auto"


def test_the_ray_job_has_a_gpu_for_every_worker(ray_job):
    workers = _parse(ray_job["spec"]["entrypoint"]).params
    (group,) = ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    n_gpus = group["replicas"] * container["resources"]["limits"]["nvidia.com/gpu"]
    assert workers["workers"] * workers["gpus_per_worker"] <= n_gpus
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_every_pod_sees_the_config(ray_job):
    cluster = ray_job["spec"]["rayClusterSpec"]
    config = _parse(ray_job["spec"]["entrypoint"]).params["config_path"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert mounts[str(Path(config).parent)] in volumes


def test_the_image_is_the_same_everywhere(ray_job):
    cluster = ray_job["spec"]["rayClusterSpec"]
    groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    assert len({container["image"] for g in groups for container in g["template"]["spec"]["containers"]}) == 1


def _unit(name: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((DEPLOY / name).read_text(encoding="utf-8"))
    return unit


def test_the_service_starts_a_command_that_exists_and_gives_up_on_wrong_requests():
    service = _unit("neuronmill.service")["Service"]
    assert _parse(service["ExecStart"]).params["config_path"] == "run.yaml"
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "2"


def test_the_timer_has_a_service_of_its_name():
    assert "OnCalendar" in _unit("neuronmill.timer")["Timer"]
    assert (DEPLOY / "neuronmill.service").exists()

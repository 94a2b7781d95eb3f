"""deploy/kubernetes: the files are valid by the Kubernetes schema, and match the service and each other."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bridge.cli import build
from bridge.config.load import load
from tests.deploy.test_compose import ENDING, known_names
from tests.e2e.image import instructions
from tests.service import ROOT

FOLDER = ROOT / "deploy/kubernetes"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
OBJECTS = [item for path in FILES for item in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
METADATA = ("169.254.169.254", "168.63.129.16", "100.100.100.200")


def the(kind: str, name: str = "graphcap-bridge") -> dict[str, Any]:
    (result,) = [item for item in OBJECTS if item["kind"] == kind and item["metadata"]["name"] == name]
    return result


POD: dict[str, Any] = the("Deployment")["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]
LABELS: dict[str, str] = the("Deployment")["spec"]["template"]["metadata"]["labels"]
SETTINGS: dict[str, str] = the("ConfigMap")["data"]


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: item["kind"])
def test_every_object_is_valid(item: dict[str, Any]) -> None:
    kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


def test_the_ray_job_has_valid_pods_and_a_valid_command() -> None:
    job = yaml.safe_load((FOLDER / "ray/rayjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    for group in groups:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
        (container,) = pod["spec"]["containers"]
        assert container["image"].startswith("graphcap-bridge-ray:")
        assert "cpu" in container["resources"]["requests"]
    program, *arguments = job["spec"]["entrypoint"].split()
    options = build("batch").parse_args(arguments)
    assert (program, options.command, options.engine) == ("graphcap", "batch", "ray")


def test_every_selector_matches_the_pods() -> None:
    selectors = [
        the("Deployment")["spec"]["selector"]["matchLabels"],
        the("Service")["spec"]["selector"],
        the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(item["labelSelector"]["matchLabels"] for item in POD["topologySpreadConstraints"]),
    ]
    assert all(item.items() <= LABELS.items() for item in selectors)
    target = the("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "graphcap-bridge")


def test_timeouts_are_consistent() -> None:
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] > pause + float(SETTINGS["GRAPHCAP_GRACE"]) + ENDING
    readiness = CONTAINER["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < pause
    assert the("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_containers_are_read_only_and_unprivileged() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    (user,) = [value for name, value in instructions((ROOT / "Dockerfile").read_text()) if name == "USER"]
    assert f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" == user
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    rights = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert CONTAINER["securityContext"] == rights
    assert POD["automountServiceAccountToken"] is False
    assert all(item["readOnly"] for item in CONTAINER["volumeMounts"])
    assert not any("emptyDir" in item or "hostPath" in item for item in POD["volumes"])
    assert "memory" in CONTAINER["resources"]["limits"]


def test_settings_exist_and_secrets_are_files() -> None:
    assert set(SETTINGS) <= known_names()
    (mount,) = [item["mountPath"] for item in CONTAINER["volumeMounts"] if item["name"] == "secrets"]
    files = {value for name, value in SETTINGS.items() if name.endswith("_FILE")}
    assert files == {f"{mount}/{name}" for name in the("Secret")["stringData"]}
    assert "env" not in CONTAINER


def test_the_shipped_providers_toml_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(the("ConfigMap", "graphcap-workspace")["data"]["providers.toml"], encoding="utf-8")
    (mount,) = [item["mountPath"] for item in CONTAINER["volumeMounts"] if item["name"] == "workspace"]
    assert mount == "/workspace/config"
    assert load(path, {}).explicit == {"studio"}


def test_the_network_policy_blocks_metadata_addresses() -> None:
    rules = the("NetworkPolicy")["spec"]["egress"]
    blocks = [item["ipBlock"] for rule in rules for item in rule["to"] if "ipBlock" in item]
    for address in METADATA:
        for block in blocks:
            inside = ip_address(address) in ip_network(block["cidr"])
            assert not inside or any(ip_address(address) in ip_network(item) for item in block["except"])
    assert {"Ingress", "Egress"} == set(the("NetworkPolicy")["spec"]["policyTypes"])
    assert all(rule["to"] and rule["ports"] for rule in rules)

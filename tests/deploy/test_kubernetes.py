"""deploy/kubernetes: every file fits Kubernetes' own schema, and what they say fits the service and one another."""

from collections import Counter
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from starlette.testclient import TestClient

from bridge.app import create_app
from bridge.config import load
from bridge.settings import Settings
from bridge.version import __version__
from tests.deploy.test_compose import ENDING, known_names
from tests.e2e.dockerfile import instructions
from tests.service import ROOT

FOLDER = ROOT / "deploy/kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
OBJECTS: list[dict[str, Any]] = [
    one
    for path in FILES
    if path.name != "kustomization.yaml"
    for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
METADATA = ("169.254.169.254", "168.63.129.16", "100.100.100.200")


def the(kind: str, name: str = "graphcap-bridge") -> dict[str, Any]:
    (found,) = [one for one in OBJECTS if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


POD: dict[str, Any] = the("Deployment")["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]
LABELS: dict[str, str] = the("Deployment")["spec"]["template"]["metadata"]["labels"]
SETTINGS: dict[str, str] = the("ConfigMap")["data"]


@pytest.mark.parametrize("path", [one for one in FILES if one.name != "kustomization.yaml"], ids=lambda path: path.stem)
def test_a_file_is_what_kubernetes_takes(path: Path) -> None:
    for one in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


def test_the_schema_would_refuse_a_misspelt_field() -> None:
    wrong = {**the("Service"), "spec": {**the("Service")["spec"], "selectr": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_kustomize_is_told_of_every_file() -> None:
    listed = Counter(KUSTOMIZATION["resources"])
    assert listed == Counter(one.name for one in FILES if one.name != "kustomization.yaml")
    assert KUSTOMIZATION["namespace"] == the("Namespace", "graphcap")["metadata"]["name"]
    assert KUSTOMIZATION["images"] == [{"name": CONTAINER["image"], "newTag": __version__}]


def test_everything_selects_the_pods() -> None:
    selectors = [
        the("Deployment")["spec"]["selector"]["matchLabels"],
        the("Service")["spec"]["selector"],
        the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(one["labelSelector"]["matchLabels"] for one in POD["topologySpreadConstraints"]),
    ]
    assert all(one.items() <= LABELS.items() for one in selectors)
    target = the("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "graphcap-bridge")


def test_probes_ask_what_the_service_answers() -> None:
    paths = {kind: CONTAINER[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    answers = TestClient(create_app(Settings()), base_url="http://127.0.0.1")
    with answers:
        assert all(answers.get(path).status_code == 200 for path in paths.values())


def test_ports_agree() -> None:
    (port,) = CONTAINER["ports"]
    (exposed,) = [one.value for one in instructions((ROOT / "Dockerfile").read_text()) if one.name == "EXPOSE"]
    assert str(port["containerPort"]) == exposed
    asked = [CONTAINER[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "liveness", "readiness")]
    asked += [the("Service")["spec"]["ports"][0]["targetPort"]]
    asked += [one["port"] for rule in the("NetworkPolicy")["spec"]["ingress"] for one in rule["ports"]]
    assert set(asked) == {port["name"]}
    notes = the("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/port"] == exposed


def test_times_add_up() -> None:
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] > pause + float(SETTINGS["GRAPHCAP_GRACE"]) + ENDING
    readiness = CONTAINER["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < pause
    assert the("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_nothing_can_be_written_and_nothing_gained() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    (user,) = [one.value for one in instructions((ROOT / "Dockerfile").read_text()) if one.name == "USER"]
    assert f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" == user
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    assert all(one["readOnly"] for one in CONTAINER["volumeMounts"])
    assert not any("emptyDir" in one or "hostPath" in one for one in POD["volumes"])
    assert "memory" in CONTAINER["resources"]["limits"]


def test_settings_exist_and_secrets_are_files() -> None:
    assert set(SETTINGS) <= known_names()
    (mount,) = [one["mountPath"] for one in CONTAINER["volumeMounts"] if one["name"] == "secrets"]
    files = {value for name, value in SETTINGS.items() if name.endswith("_FILE")}
    assert files == {f"{mount}/{name}" for name in the("Secret")["stringData"]}
    assert "env" not in CONTAINER


def test_the_shipped_providers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(the("ConfigMap", "graphcap-workspace")["data"]["providers.toml"], encoding="utf-8")
    (mount,) = [one["mountPath"] for one in CONTAINER["volumeMounts"] if one["name"] == "workspace"]
    assert mount == "/workspace/config"
    assert load(path, {}).explicit == {"studio"}


def test_it_scales_by_what_is_under_way() -> None:
    spec = the("HorizontalPodAutoscaler")["spec"]
    (metric,) = spec["metrics"]
    assert metric["pods"]["metric"]["name"] == "bridge_requests_in_flight"
    assert int(metric["pods"]["target"]["averageValue"]) < Settings().max_in_flight
    assert spec["minReplicas"] > the("PodDisruptionBudget")["spec"]["maxUnavailable"]
    assert "replicas" not in the("Deployment")["spec"]  # else every apply would undo what was scaled


def test_no_metadata_address_can_be_called() -> None:
    rules = the("NetworkPolicy")["spec"]["egress"]
    blocks = [one["ipBlock"] for rule in rules for one in rule["to"] if "ipBlock" in one]
    for address in METADATA:
        for block in blocks:
            inside = ip_address(address) in ip_network(block["cidr"])
            assert not inside or any(ip_address(address) in ip_network(one) for one in block["except"])
    assert {"Ingress", "Egress"} == set(the("NetworkPolicy")["spec"]["policyTypes"])
    assert all(rule["to"] and rule["ports"] for rule in rules)

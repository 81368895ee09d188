"""docker/tiers/: the whole chain. No engine runs here: what its files say is held against the program, and against one another."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import stat
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from cryptography import x509

from dbsync.config.load import load, load_relay
from dbsync.config.models import Config, RelayConfig
from tests.docs.manual import ROOT, helps
from tests.docs.test_docker import PINNED, SECRET_WORDS
from tests.support.promtool import promtool

TIERS = ROOT / "docker" / "tiers"
BOTH = {"compose.yaml": ROOT / "docker" / "compose.yaml", "tiers/compose.yaml": TIERS / "compose.yaml"}
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((TIERS / "compose.yaml").read_text())["services"]
BEGIN = (TIERS / "begin.sh").read_text()
MACHINES = ("field", "community", "central")
PROGRAMS = {
    "field": ("field", ["run"]),
    "community": ("community", ["serve"]),
    "community-upward": ("community", ["run"]),
    "central": ("central", ["serve"]),
    "relay": ("relay", ["relay", "run"]),
}
"""Which service runs which configuration, with which words."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of docker/tiers in which secrets.sh was typed."""
    copy = Path(
        shutil.copytree(TIERS, tmp_path_factory.mktemp("docker") / "tiers", ignore=shutil.ignore_patterns("state"))
    )
    subprocess.run([copy / "secrets.sh"], check=True)
    return copy


def configuration(name: str) -> Config:
    return load(TIERS / f"{name}.toml", {})


def relay() -> RelayConfig:
    return load_relay(TIERS / "relay.toml")


def origins(service: dict[str, Any]) -> dict[str, str]:
    """Give what a service mounts: the place inside, and what is there."""
    volumes = [str(volume).split(":") for volume in service.get("volumes", ())]
    return {inside: origin for origin, inside, *_ in volumes}


@pytest.mark.parametrize("path", BOTH.values(), ids=BOTH)
def test_compose_understands_it(path: Path) -> None:
    filled_in = re.sub(r"\$\{\w+:[^}]*\}", "10001", path.read_text())
    document = yaml.safe_load(filled_in)  # with its anchors resolved, as compose does
    PyCompose.from_yaml(yaml.safe_dump(document)).validate()
    document["services"]["field" if "tiers" in str(path) else "dbsync"]["restrat"] = "always"
    with pytest.raises(ValueError, match="restrat"):
        PyCompose.from_yaml(yaml.safe_dump(document))


def test_the_dockerfile_is_one_and_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "hadolint", ROOT / "docker" / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_images_are_pinned_and_secrets_are_files() -> None:
    for service in SERVICES.values():
        assert "build" in service or PINNED.fullmatch(service["image"]), service["image"]
        assert not SECRET_WORDS.search(str(service.get("command", "")))
        for name, value in service.get("environment", {}).items():
            if SECRET_WORDS.search(name):
                assert (name.endswith("_FILE") and value.startswith("/run/secrets/")) or name in (
                    "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION",
                )


def test_dbsync_gets_no_more_than_it_needs_and_nobody_from_outside_reaches_it() -> None:
    for service in SERVICES.values():
        if "build" in service:
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
            assert "ports" not in service
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_everything_that_a_service_mounts_is_there(made: Path) -> None:
    for service in SERVICES.values():
        for origin in origins(service).values():
            if origin.startswith("./state/"):
                assert (made / origin).is_dir()
            elif origin.startswith("."):
                assert (TIERS / origin).is_file(), origin


def test_each_service_runs_a_program_with_its_own_configuration() -> None:
    for name, (machine, words) in PROGRAMS.items():
        service = SERVICES[name]
        assert service["command"] == words
        inside = "/etc/dbsync/relay.toml" if machine == "relay" else "/etc/dbsync/dbsync.toml"
        assert origins(service)[inside] == f"./{machine}.toml"
        begins = SERVICES[f"{machine}-begin"]
        assert begins["command"] == [machine]
        assert f"\n{machine})\n" in BEGIN
        assert service["depends_on"] == {f"{machine}-begin": {"condition": "service_completed_successfully"}}


def test_what_is_typed_once_are_commands_with_options_that_they_have() -> None:
    typed = [shlex.split(line) for line in re.findall(r"\bdbsync ((?:[^\n\"]|\"[^\"]*\")+)", BEGIN)]
    shown = helps()
    assert len(typed) > 12
    for words in typed:
        command = next(found for end in (2, 1) if (found := " ".join(words[:end])) in shown)
        for option in (word for word in words if word.startswith("--")):
            assert f"{option} " in shown[command], words


def test_who_speaks_to_whom_can() -> None:
    at = {machine: configuration(machine) for machine in MACHINES}
    spoken = [("field", at["field"].upstream.url), ("community-upward", at["community"].upstream.url)]
    above = relay().upstream
    assert above is not None
    spoken += [("field", at["field"].relays[0].url), ("relay", above.url)]
    for who, url in spoken:
        host = url.removeprefix("https://").removesuffix(":8443")
        assert {*SERVICES[who]["networks"]} & {*SERVICES[host]["networks"]} - {"watching"}, (who, url)
        listening = relay().serve if host == "relay" else at[host].serve
        assert listening.listen == "0.0.0.0:8443"
        assert f"{url} " in BEGIN, "nobody enrols there"
    services = configparser.ConfigParser()
    services.read(TIERS / "pg_service.conf")
    for machine in MACHINES:
        database = services[at[machine].node.source.removeprefix("service=")]
        assert database["host"] == f"{machine}-db"
        assert {*SERVICES[machine]["networks"]} & {*SERVICES[database["host"]]["networks"]}
        assert (database["user"], database["dbname"]) == ("clinic", "clinic")


def test_what_secrets_sh_makes_fits_and_is_made_once(made: Path) -> None:
    state = made / "state"
    authority = x509.load_pem_x509_certificate((state / "tls" / "ca.crt").read_bytes())
    for machine in ("community", "central"):
        serve = configuration(machine).serve
        assert (serve.certificate, serve.key) == (f"/run/tls/{machine}.crt", f"/run/tls/{machine}.key")
        own = x509.load_pem_x509_certificate((state / "tls" / f"{machine}.crt").read_bytes())
        own.verify_directly_issued_by(authority)
        named = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert named.get_values_for_type(x509.DNSName) == [machine]
    passwords = [(state / "secrets" / f"{machine}_password").read_text() for machine in MACHINES]
    assert len({*passwords}) == len(MACHINES)
    lines = zip(MACHINES, passwords, strict=True)
    assert (state / "secrets" / "pgpass").read_text() == "".join(
        f"{machine}-db:5432:clinic:clinic:{password}\n" for machine, password in lines
    )
    files = [path for path in state.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    before = {path: path.read_bytes() for path in files}
    subprocess.run([made / "secrets.sh"], check=True)
    assert {path: path.read_bytes() for path in files} == before
    ignored = (TIERS / ".gitignore").read_text().split()
    assert ignored == ["/state/", "/.env"]


def test_prometheus_asks_each_program_where_it_answers(made: Path) -> None:
    at = {machine: configuration(machine).metrics for machine in MACHINES}
    listens = {
        "field": at["field"].listen,
        "community-upward": at["community"].listen,
        "community": at["community"].of_server,
        "central": at["central"].of_server,
        "relay": relay().metrics.of_server,
    }
    config = yaml.safe_load((TIERS / "prometheus.yaml").read_text())
    ((job),) = config["scrape_configs"]
    assert job["job_name"] == "dbsync"
    assert {*job["static_configs"][0]["targets"]} == {
        f"{name}:{str(listen).removeprefix('0.0.0.0:')}" for name, listen in listens.items()
    }
    for name, listen in listens.items():
        assert "watching" in SERVICES[name]["networks"]
        told = str(SERVICES[name].get("healthcheck", {}).get("test", ""))
        assert not told or f":{str(listen).rpartition(':')[2]}/readyz" in told
    inside = origins(SERVICES["prometheus"])
    shutil.copy(TIERS / inside["/etc/prometheus/dbsync.rules.yaml"], made)
    assert promtool("check", "config", str(made / "prometheus.yaml")) == ""
    assert f"--config.file={next(iter(inside))}" in SERVICES["prometheus"]["command"]


def test_grafana_finds_its_source_and_the_dashboard() -> None:
    grafana, inside = SERVICES["grafana"], origins(SERVICES["grafana"])
    source = yaml.safe_load((TIERS / inside["/etc/grafana/provisioning/datasources/dbsync.yaml"]).read_text())
    boards = yaml.safe_load((TIERS / inside["/etc/grafana/provisioning/dashboards/dbsync.yaml"]).read_text())
    (found,), (provider,) = source["datasources"], boards["providers"]
    assert (source["apiVersion"], boards["apiVersion"], found["type"], found["isDefault"]) == (1, 1, "prometheus", True)
    assert found["url"] == "http://prometheus:9090"
    assert {*grafana["networks"]} & {*SERVICES["prometheus"]["networks"]}
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/dbsync.json"
    assert (TIERS / inside[home]).resolve() == ROOT / "monitoring" / "grafana" / "dbsync.json"

"""docker/: no engine runs here, so its files are held against each other, and its commands are run outside."""

from __future__ import annotations

import configparser
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbsync.config.load import load
from tests.docs.ground import Ground, ground
from tests.docs.manual import ROOT, helps, names
from tests.support.databases import ONE_MIXTURE

__all__ = ["ground"]

DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PINNED = re.compile(r"[a-z/]+:v?\d+(\.\d+)+(-[a-z]+)*")
SECRET_WORDS = re.compile(r"password|secret|token|key", re.IGNORECASE)


def instructions() -> list[tuple[str, str]]:
    """Give the Dockerfile's instructions with their words, continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def words_of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def runs() -> list[str]:
    return [part.strip() for rest in words_of("RUN") for part in rest.split("&&")]


def test_base_images_are_pinned() -> None:
    bases = [rest.split()[0] for rest in words_of("FROM")]
    assert len(set(bases)) == 1, "what was built must meet the Python it was built for"
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    for image in (*bases, *images):
        assert PINNED.fullmatch(image), image


def test_the_image_does_not_run_as_root() -> None:
    names_in_order = [name for name, _ in instructions()]
    assert "USER" in names_in_order[len(names_in_order) - names_in_order[::-1].index("FROM") :]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", words_of("USER")[-1])


def test_nothing_is_fetched_unchecked() -> None:
    assert words_of("ADD") == []
    assert not any(re.search(r"\b(curl|wget)\b", command) for command in runs())
    assert not any("apt-get" in command for command in runs()), "then also clean /var/lib/apt/lists in the same RUN"
    downloads = [command for command in runs() if "pip download" in command]
    installs = [command for command in runs() if "pip install" in command]
    assert downloads
    assert all("--require-hashes" in command for command in downloads)
    assert all("--no-index" in command for command in installs)
    assert all("--no-cache-dir" in command for command in (*downloads, *installs))


def test_what_is_copied_exists_and_is_sent_to_the_engine() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for rest in words_of("COPY") if "--from" not in rest for word in rest.split()[:-1]}
    assert {word.removeprefix("./") for word in copied} == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_no_secret_is_in_the_image_or_on_a_command_line() -> None:
    for rest in (*words_of("ENV"), *words_of("ARG")):
        assert not SECRET_WORDS.search(rest), rest
    for service in SERVICES.values():
        assert not SECRET_WORDS.search(str(service.get("command", ""))), service
        for name, value in service["environment"].items():
            assert not SECRET_WORDS.search(name) or (name.endswith("_FILE") and value.startswith("/run/secrets/"))


def test_programs_start_in_exec_form_and_are_commands_of_dbsync() -> None:
    known = names(helps()[""])
    (entry,), (command,) = words_of("ENTRYPOINT"), words_of("CMD")
    assert entry == '["dbsync"]'
    assert yaml.safe_load(command)[0] in known
    (health,) = words_of("HEALTHCHECK")
    assert re.findall(r'\["dbsync", "([a-z]+)"', health)[0] in known
    assert SERVICES["dbsync"]["command"] == yaml.safe_load(command)
    assert set(re.findall(r"dbsync ([a-z-]+)", SERVICES["install"]["command"][0])) <= set(known)


def test_services_wait_for_what_they_need() -> None:
    healthy, completed = "service_healthy", "service_completed_successfully"
    conditions = {
        name: {needed: how["condition"] for needed, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    assert conditions == {
        "source": {},
        "community": {},
        "install": {"source": healthy, "community": healthy},
        "dbsync": {"source": healthy, "install": completed},
    }
    for needed in ("source", "community"):
        assert SERVICES[needed]["healthcheck"]["test"][0] == "CMD"


def test_services_come_back_after_a_crash_and_the_installation_does_not_go_on_for_ever() -> None:
    policies = {name: service["restart"] for name, service in SERVICES.items()}
    assert policies == {
        "source": "unless-stopped",
        "community": "unless-stopped",
        "install": "on-failure",
        "dbsync": "unless-stopped",
    }


def test_everything_that_a_service_mounts_is_there() -> None:
    for service in SERVICES.values():
        for volume in service["volumes"]:
            origin = volume.split(":")[0]
            assert (DOCKER / origin).is_file() if origin.startswith(".") else origin in COMPOSE["volumes"]
        assert set(service["secrets"]) <= COMPOSE["secrets"].keys()
        assert set(service["networks"]) <= COMPOSE["networks"].keys()


def test_dbsync_gets_no_more_than_it_needs() -> None:
    for name in ("install", "dbsync"):
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "ports" not in service


def test_the_servers_of_the_service_file_are_services_of_the_compose_file() -> None:
    found = configparser.ConfigParser()
    found.read(DOCKER / "pg_service.conf")
    assert {found[name]["host"] for name in found.sections()} == {"source", "community"} & SERVICES.keys()
    for name in found.sections():
        environment = SERVICES[found[name]["host"]]["environment"]
        assert (found[name]["user"], found[name]["dbname"]) == (
            environment["POSTGRES_USER"],
            environment["POSTGRES_DB"],
        )
    config = load(DOCKER / "dbsync.toml", {})
    assert {config.node.source, config.upstream.url} == {f"service={name}" for name in found.sections()}


def test_the_image_is_built_of_this_checkout_and_told_its_version() -> None:
    for name in ("install", "dbsync"):
        assert SERVICES[name]["image"] == "dbsync:local"
        assert SERVICES[name]["build"]["args"] == ["DBSYNC_VERSION"]
    told = instructions().index(("ARG", "DBSYNC_VERSION"))
    built = next(place for place, (_, rest) in enumerate(instructions()) if "--no-index" in rest)
    assert told < built


def test_secrets_are_made_once_for_their_owner_only(tmp_path: Path) -> None:
    script = shutil.copy(DOCKER / "secrets.sh", tmp_path)
    subprocess.run([script], check=True)
    files = {name: tmp_path / secret["file"] for name, secret in COMPOSE["secrets"].items()}
    first = {name: file.read_text() for name, file in files.items()}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files.values())
    assert first["source_password"] != first["community_password"]
    assert first["pgpass"] == "".join(
        f"{host}:5432:clinic:clinic:{first[f'{host}_password']}\n" for host in ("source", "community")
    )
    wanted = set(re.findall(r"\$\{(\w+)", SERVICES["dbsync"]["user"]))
    written = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    assert written.keys() == wanted
    assert "0" not in written.values()
    subprocess.run([script], check=True)
    assert {name: file.read_text() for name, file in files.items()} == first


@pytest.mark.parametrize("name", ["secrets", ".env"])
def test_secrets_are_not_checked_in(name: str) -> None:
    assert f"/{name}" in (DOCKER / ".gitignore").read_text().replace("/\n", "\n").splitlines()


@ONE_MIXTURE
def test_the_containers_commands_work_outside_of_them(ground: Ground) -> None:
    shutil.copy(DOCKER / "dbsync.toml", ground.folder)
    ground.sh(SERVICES["install"]["command"][0])
    ground.pair.source.script(
        "INSERT INTO clinic_visit (subject_id, code, seen_at) SELECT id, '1000', now() FROM clinic_subject"
    )
    assert "2 changes shipped" in ground.sh("dbsync run --once")
    assert "source and upstream agree" in ground.sh("dbsync status --json >/dev/null; dbsync verify")
    assert "nothing to do" in ground.sh(SERVICES["install"]["command"][0])

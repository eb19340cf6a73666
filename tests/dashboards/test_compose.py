"""What compose mounts, what Grafana provisions and what the image copies exist and name one another.

No container engine is needed: files are parsed and compared. What only an engine can tell (that the image builds) is not
claimed here.
"""

import configparser
import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
import yaml

from spanledger.gatehouse import read_key_file
from spanledger.settings import SETTINGS

REPOSITORY = Path(__file__).parents[2]
PROVISIONING = REPOSITORY / "dashboards" / "provisioning"
SERVICES = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
NAMED_VOLUMES = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["volumes"]


def parsed(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def mounts(service: str) -> dict[str, str]:
    """By place in the container: the path in the repository or the volume's name."""
    return {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES[service]["volumes"]}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), comments and continuations resolved."""
    lines = [line for line in (REPOSITORY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def arguments_of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def test_compose_starts_spanledger_prometheus_and_grafana():
    assert set(SERVICES) == {"spanledger", "prometheus", "grafana"}


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_mounts_exists(service):
    for source in mounts(service).values():
        if source.startswith("."):
            assert (REPOSITORY / source).exists(), f"{service} mounts {source}, which is not in the repository"
        else:
            assert source in NAMED_VOLUMES


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_is_open_on_the_loopback_address_only_unless_told_otherwise(service):
    for port in SERVICES[service]["ports"]:
        assert re.fullmatch(r"\$\{BIND_ADDRESS:-127\.0\.0\.1\}:(\d+):\1", port)


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_pinned_to_a_version(service):
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", SERVICES[service]["image"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_a_healthcheck(service):
    assert "healthcheck" in SERVICES[service] or ("build" in SERVICES[service] and arguments_of("HEALTHCHECK"))


def test_the_record_survives_a_new_container():
    (data,) = [target for target, source in mounts("spanledger").items() if source in NAMED_VOLUMES]
    assert data in arguments_of("VOLUME")
    assert json.loads(arguments_of("CMD")[-1])[-2:] == ["--data", data]


def test_prometheus_reads_the_mounted_configuration_and_its_rules():
    (path,) = [one.split("=")[1] for one in SERVICES["prometheus"]["command"] if one.startswith("--config.file=")]
    assert mounts("prometheus")[path] == "./dashboards/prometheus.yml"
    configuration = parsed(REPOSITORY / "dashboards" / "prometheus.yml")
    for rules in configuration["rule_files"]:
        assert mounts("prometheus")[str(PurePosixPath(path).parent / rules)] == f"./dashboards/{rules}"


def test_prometheus_scrapes_the_port_that_spanledger_serves():
    (job,) = parsed(REPOSITORY / "dashboards" / "prometheus.yml")["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert host in SERVICES
    assert port in arguments_of("EXPOSE")[0].split()
    assert f":{port}/healthz" in arguments_of("HEALTHCHECK")[0]


def test_prometheus_has_a_credential_of_its_own():
    compose = parsed(REPOSITORY / "docker-compose.yml")
    (job,) = parsed(REPOSITORY / "dashboards" / "prometheus.yml")["scrape_configs"]
    path = job["authorization"]["credentials_file"]
    assert path == SERVICES["spanledger"]["environment"]["SPANLEDGER_METRICS_KEY_FILE"]
    assert SERVICES["prometheus"]["secrets"] == [PurePosixPath(path).name]
    for name, file in SERVICES["spanledger"]["environment"].items():
        assert file == f"/run/secrets/{PurePosixPath(file).name}"
        assert PurePosixPath(file).name in SERVICES["spanledger"]["secrets"]
        assert name.removeprefix("SPANLEDGER_").lower() in {setting.name for setting in SETTINGS}
    assert set(compose["secrets"]) == set(SERVICES["spanledger"]["secrets"])


def test_the_keys_that_make_makes_are_keys_and_are_made_once(tmp_path):
    (tmp_path / "Makefile").write_text((REPOSITORY / "Makefile").read_text())
    files = {one["file"] for one in parsed(REPOSITORY / "docker-compose.yml")["secrets"].values()}
    times: list[dict[str, str]] = []
    for _ in range(2):
        subprocess.run(["make", "secrets"], cwd=tmp_path, check=True, capture_output=True)
        times.append({path.name: read_key_file(path) for path in (tmp_path / "secrets").iterdir()})
    made, again = times
    assert {f"./secrets/{name}" for name in made} == files
    assert made == again
    assert len(set(made.values())) == len(made)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_grafana_asks_the_prometheus_of_compose():
    (source,) = parsed(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]
    assert source["type"] == "prometheus"
    host, port = re.fullmatch(r"http://([a-z]+):(\d+)", source["url"]).groups()
    assert SERVICES[host]["ports"][0].endswith(f":{port}")
    scraping = parsed(REPOSITORY / "dashboards" / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraping


def test_the_provisioned_folder_is_where_the_dashboard_is_mounted():
    (provider,) = parsed(PROVISIONING / "dashboards" / "spanledger.yml")["providers"]
    mounted = {
        PurePosixPath(target): source for target, source in mounts("grafana").items() if source.endswith(".json")
    }
    assert {str(target.parent) for target in mounted} == {provider["options"]["path"]}
    assert list(mounted.values()) == ["./dashboards/spanledger.json"]
    for kind in ("datasources", "dashboards"):
        assert mounts("grafana")[f"/etc/grafana/provisioning/{kind}"] == f"./dashboards/provisioning/{kind}"


def test_nobody_logs_in_to_grafana_without_a_password_that_was_chosen():
    ini = configparser.ConfigParser()
    ini.read_string((REPOSITORY / mounts("grafana")["/etc/grafana/grafana.ini"]).read_text())
    assert ini.getboolean("auth", "disable_login_form")
    assert not ini.getboolean("auth.basic", "enabled")
    assert ini["auth.anonymous"]["org_role"] == "Viewer"
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "${GRAFANA_ADMIN_PASSWORD:+false}"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "${GRAFANA_ADMIN_PASSWORD:+true}"
    assert environment["GF_SECURITY_ADMIN_PASSWORD"] == "${GRAFANA_ADMIN_PASSWORD:-}"
    assert ini["dashboards"]["default_home_dashboard_path"] in mounts("grafana")


def test_what_the_image_copies_is_in_the_repository_and_reaches_the_builder():
    ignored = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignored[0] == "*"
    allowed = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = [source for one in arguments_of("COPY") if not one.startswith("--from") for source in one.split()[:-1]]
    assert copied
    for source in copied:
        assert (REPOSITORY / source).exists(), f"the Dockerfile copies {source}, which is not in the repository"
        assert any(fnmatch(source, pattern) for pattern in allowed), f".dockerignore keeps {source} from the builder"
    assert set(allowed) == set(copied)


def test_the_image_installs_nothing_unchecked():
    installs = re.findall(r"pip (?:--python \S+ )?install (.+?)(?= &&|$)", "\n".join(arguments_of("RUN")), re.MULTILINE)
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-index" in install


def test_the_image_finds_the_build_backend_in_the_development_lock():
    lock = (REPOSITORY / "requirements-dev.lock").read_text()
    assert "sed -n '/^setuptools==/,/[^\\\\]$/p' requirements-dev.lock" in "\n".join(arguments_of("RUN"))
    assert re.search(r"^setuptools==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+(?=\S)", lock, re.MULTILINE)


def test_the_image_runs_as_nobody_special_from_a_small_base():
    assert {one.split()[0] for one in arguments_of("FROM")} == {"python:3.13-slim-bookworm"}
    assert len(arguments_of("FROM")) == 2
    names = [instruction for instruction, _ in instructions()]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", arguments_of("USER")[-1])
    assert names.index("USER") > len(names) - 1 - names[::-1].index("FROM")
    assert "RUN" not in names[names.index("USER") :]


def test_the_image_starts_the_server_with_options_that_it_has():
    assert json.loads(arguments_of("ENTRYPOINT")[-1]) == ["spanledger"]
    command, *options = json.loads(arguments_of("CMD")[-1])
    wide = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "spanledger", command, "--help"], capture_output=True, text=True, check=False, env=wide
    )
    assert done.returncode == 0, done.stderr
    for option in options:
        if option.startswith("--"):
            assert option in done.stdout

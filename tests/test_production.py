"""Servers of one's own: what compose files and their page name is there, and level 4 runs on them."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ladder import ROOT, workcopy
from ladder.levels import Level, level, levels
from ladder.service import Service, free_port
from tests.compose import VARIABLE, Machine, read, strings, words
from tests.postgres import program, query, running_postgres

PROJECTS = [each for each in levels() if each.number]
EVERY = pytest.mark.parametrize("project", PROJECTS, ids=lambda each: each.folder.name)
PAGE = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")

# Inside the containers, and on the machine where .env chooses no other.
PORTS = {"application": 8000, "mlflow": 5000, "prefect": 4200, "prometheus": 9090}
POSTGRES = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"}  # of its image
# Without a port, so without a health check: they are restarted when their process ends.
SILENT = {"agent", "schedule"}
PASSWORD = "letters"
USER = "application"


def compose(project: Level) -> dict[str, Any]:
    return read(project.folder / "compose.yaml")


def services(project: Level) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose(project)["services"]
    return found


# ---- compose.yaml, as it is written


def test_every_compose_file_is_one_that_docker_understands() -> None:
    files = [str(project.folder / "compose.yaml") for project in PROJECTS]
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [checker, "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@EVERY
def test_a_level_starts_what_it_needs_and_no_more(project: Level) -> None:
    wanted = {"application"}
    if project.number >= 2:
        wanted |= {"mlflow", "postgres", "prefect", "schedule", "worker"}
    if project.number >= 3:
        wanted |= {"prometheus"}
    if project.number >= 4:
        wanted |= {"agent"}
    assert set(services(project)) == wanted


@EVERY
def test_each_service_is_pinned_limited_watched_and_may_do_little(project: Level) -> None:
    content = compose(project)
    for name, service in content["services"].items():
        if "build" not in service:
            assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", service["image"]), name
            assert service["user"] not in ("root", "0"), name
        limits = service["deploy"]["resources"]["limits"]
        assert limits["cpus"], name
        assert limits["memory"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not {"privileged", "network_mode", "pid", "cap_add"} & set(service), name
        assert ("healthcheck" in service) == (name not in SILENT), name
        assert service["restart"] == ("no" if name == "schedule" else "unless-stopped"), name
        for published in service.get("ports", []):
            assert published.startswith("127.0.0.1:"), name
        for volume in service.get("volumes", []):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            assert source.startswith("./") or source in content["volumes"], source
        for each in service.get("depends_on", {}):
            assert each in content["services"], name
    used = " ".join(strings([each.get("volumes", []) for each in content["services"].values()]))
    for volume in content.get("volumes", {}):
        assert f"{volume}:" in used, f"nobody uses {volume}"


@EVERY
def test_no_password_is_in_a_file(project: Level) -> None:
    for text in strings(compose(project)):
        for given in re.findall(r"://\w*:([^@/]+)@", text):
            assert given == "${POSTGRES_PASSWORD}", text
    requests = {
        found[1]: found[2]
        for found in VARIABLE.finditer((project.folder / "compose.yaml").read_text("utf-8"))
    }
    if project.number == 1:
        assert set(requests) == {"IMAGE", "APPLICATION_PORT"}
        return
    assert "${POSTGRES_PASSWORD:?" in services(project)["postgres"]["environment"]["POSTGRES_PASSWORD"]
    example = (project.folder / ".env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"(?m)^(\w+)=(.*)$", example))
    assert set(given) - {"COMPOSE_PROFILES"} == set(requests) - {"IMAGE"}
    filled_in = {name: value for name, value in given.items() if value and name != "COMPOSE_PROFILES"}
    assert filled_in == {
        f"{name.upper()}_PORT": str(port) for name, port in PORTS.items() if name in services(project)
    }
    for ignoring in (".gitignore", "training.Dockerfile.dockerignore"):
        lines = (project.folder / ignoring).read_text(encoding="utf-8").splitlines()
        assert {".env", "secrets/", "state/"} <= set(lines), ignoring


@EVERY
def test_a_port_of_the_machine_is_named_nowhere_but_in_its_variable(project: Level) -> None:
    """What a browser opens, and the hosts that MLflow answers, go with the port that .env chooses."""
    elsewhere = {"healthcheck", "ports"}
    for name, service in services(project).items():
        for text in strings({key: part for key, part in service.items() if key not in elsewhere}):
            assert not re.search(r"(127\.0\.0\.1|localhost):\d", text), f"{name}: {text}"


@EVERY
def test_what_the_services_are_told_is_read_by_somebody(project: Level) -> None:
    for name, service in services(project).items():
        for variable in service.get("environment", {}):
            assert variable in known_variables(project), f"{name}: nobody reads {variable}"


@EVERY
def test_the_services_find_each_other(project: Level) -> None:
    ports = PORTS | {"postgres": 5432}
    dockerfile = (project.folder / "Dockerfile").read_text(encoding="utf-8")
    assert '"--port", "8000"]' in dockerfile
    for name, service in services(project).items():
        for host, port in re.findall(
            r"[@/]([a-z][a-z-]*):(\d+)", " ".join(strings(service.get("environment", {})))
        ):
            assert host in services(project), f"{name}: there is no {host}"
            assert int(port) == ports[host], name
        for published in service.get("ports", []):
            assert published == f"127.0.0.1:${{{name.upper()}_PORT:-{ports[name]}}}:{ports[name]}"
        listens = re.findall(r"--port (\d+)", " ".join(words(service.get("command", ""))))
        assert listens in ([], [str(ports.get(name))]), name
        if name in ports and name != "postgres":
            (requests,) = re.findall(r"127\.0\.0\.1:(\d+)", " ".join(service["healthcheck"]["test"]))
            assert int(requests) == ports[name]


@EVERY
def test_the_commands_and_paths_are_those_of_the_level(project: Level) -> None:
    text = (project.folder / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"python -m bike_demand (\w+)", text)) <= commands(project)
    params = yaml.safe_load((project.folder / "params.yaml").read_text(encoding="utf-8"))
    settings = (project.folder / "bike_demand" / "core" / "settings.py").read_text(encoding="utf-8")
    assert 'STATE = Path("state")' in settings
    assert params["feed"] == "feed/"
    for service in services(project).values():
        for volume in service.get("volumes", []):
            target = volume["target"] if isinstance(volume, dict) else volume.split(":")[1]
            if target.startswith("/app/"):
                assert target.split("/")[2] in ("state", "feed"), target
        if service.get("image") == "bike-demand-training":
            assert service["build"] == {"context": ".", "dockerfile": "training.Dockerfile"}
    if project.number == 1:
        assert 'MODEL = STATE / "model"' in settings
        return
    deployments = yaml.safe_load((project.folder / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    pools = {each["work_pool"]["name"] for each in deployments}
    assert f"--type process {pools.pop()} " in services(project)["schedule"]["command"]


@pytest.mark.parametrize("number", [each.number for each in PROJECTS if each.number >= 2])
def test_the_image_that_trains_has_what_servers_need_and_does_not_run_as_root(number: int) -> None:
    folder = level(number).folder
    text = (folder / "training.Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^FROM (\S+)", text) == ["python:3.13-slim-bookworm"]
    assert re.search(r"(?m)^USER [1-9]\d*$", text)
    locked = (folder / "requirements.lock").read_text(encoding="utf-8")
    for package in ("mlflow", "prefect", "psycopg", "psycopg-binary", "asyncpg"):
        assert re.search(rf"(?m)^{package}==", locked), f"{package} is not in the lock"


@pytest.mark.parametrize("number", [each.number for each in PROJECTS if each.number >= 2])
def test_prefect_frees_the_slot_of_a_run_that_a_power_cut_interrupted(number: int) -> None:
    """In memory the lease is lost, and with one slot for each deployment nothing runs again."""
    prefect = services(level(number))["prefect"]
    environment = prefect["environment"]
    lease_storage = importlib.import_module(environment["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"])
    assert "file" in lease_storage.__name__
    (kept,) = [volume.split(":")[1] for volume in prefect["volumes"]]
    assert Path(environment["PREFECT_HOME"]).is_relative_to(kept)


@pytest.mark.parametrize("number", [each.number for each in PROJECTS if each.number >= 3])
def test_prometheus_asks_where_the_application_answers(number: int) -> None:
    project = level(number)
    config = yaml.safe_load((project.folder / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["application:8000"]}]
    keys = (project.folder / "bike_demand" / "serving" / "keys.py").read_text(encoding="utf-8")
    ((header, given),) = job["http_headers"].items()
    assert f'HEADER = "{header}"' in keys
    service = services(project)["prometheus"]
    assert given == {"files": [f"/run/secrets/{name}" for name in service["secrets"]]}
    assert "./prometheus.yaml:/etc/prometheus/prometheus.yml:ro" in service["volumes"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in service["command"]


def test_what_a_level_takes_over_it_starts_by_the_same_command() -> None:
    """So that the level that is tried on real servers below stands for those below it."""
    highest = services(level(4))
    for project in PROJECTS[1:]:
        for name, service in services(project).items():
            assert service.get("command") == highest[name].get("command"), f"{project.number}: {name}"


def commands(project: Level) -> set[str]:
    """The commands of a level, by the names of their functions."""
    text = (project.folder / "bike_demand" / "__main__.py").read_text(encoding="utf-8")
    return set(re.findall(r"@app\.command\([^\n]*\)\ndef (\w+)", text)) | set(
        re.findall(r'name="(\w+)"', text)
    )


def known_variables(project: Level) -> set[str]:
    """The environment variables that a level, MLflow, Prefect and PostgreSQL's image read."""
    import mlflow.environment_variables
    from prefect.settings import Settings

    params = yaml.safe_load((project.folder / "params.yaml").read_text(encoding="utf-8"))
    found = {f"BIKE_{key}" for key in _keys(params)}
    for path in sorted((project.folder / "bike_demand").rglob("*.py")):
        found |= set(re.findall(r"\bBIKE_TEST_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    found |= {name for name in dir(mlflow.environment_variables) if name.startswith("MLFLOW_")}
    found |= {"MLFLOW_BACKEND_STORE_URI"}  # of its command line; started with it below
    # Of a setting it is one of the names that Prefect lists.
    found |= {name.upper() for name in _names(Settings)}
    return found | POSTGRES


def _keys(params: dict[str, Any]) -> Iterator[str]:
    for name, value in params.items():
        yield name.upper()
        if isinstance(value, dict):
            yield from (f"{name.upper()}__{key}" for key in _keys(value))


def _names(model: Any) -> Iterator[str]:
    prefix = model.model_config.get("env_prefix") or ""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        inner = field.annotation
        if hasattr(inner, "model_fields"):
            yield from _names(inner)


# ---- docs/production.md


def test_the_page_names_only_what_is_there() -> None:
    everything = set().union(*(known_variables(each) for each in PROJECTS))
    for name in set(re.findall(r"\b(?:BIKE|MLFLOW|PREFECT|POSTGRES)_[A-Z_]+\b", PAGE)):
        assert name in everything, f"nobody reads {name}"
    known = set().union(*(commands(each) for each in PROJECTS))
    assert set(re.findall(r"python -m bike_demand (\w+)", PAGE)) <= known
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target
    params = yaml.safe_load((level(4).folder / "params.yaml").read_text(encoding="utf-8"))
    sections = "|".join(name for name, value in params.items() if isinstance(value, dict))
    for address in re.findall(rf"`((?:{sections})(?:\.[a-z_]+)+)\b", PAGE):
        found = params
        for key in address.split("."):
            assert key in found, f"there is no setting {address}"
            found = found[key]


def test_the_page_speaks_of_every_service_and_every_variable() -> None:
    for project in PROJECTS:
        for name, service in services(project).items():
            assert f"`{name}`" in PAGE, name
            for variable in service.get("environment", {}):
                assert variable in PAGE, f"{variable} of {name}"


def test_the_memory_that_the_page_names_is_what_the_limits_add_up_to() -> None:
    (line,) = re.findall(r"(?m)^\| memory, all limits together \|(.+)\|", PAGE)
    reported = [[float(each) for each in re.findall(r"[\d.]+", cell)] for cell in line.split("|")[:4]]
    for project, amounts in zip(PROJECTS, reported, strict=True):
        found = []
        for profile in ("agent", "prefect")[: len(amounts)]:
            limits = [
                each["deploy"]["resources"]["limits"]["memory"]
                for each in services(project).values()
                if profile in each.get("profiles", [profile])
            ]
            found.append(sum(float(each[:-1]) / (1024 if each.endswith("M") else 1) for each in limits))
        assert found == amounts, project.number


# ---- on real servers


@dataclass(frozen=True)
class Servers:
    """A copy of level 4 whose compose.yaml runs as processes of this machine."""

    machine: Machine
    folder: Path
    scratch: Path
    ports: dict[int, int]

    def run(self, service: str, *command: str, **more: str) -> str:
        """What a command says in a service's container, as `docker compose exec` would start it."""
        done = subprocess.run(
            list(command) or self.machine.command(service),
            cwd=self.folder,
            env=self.machine.environment(service, **more),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def project(self, service: str, *arguments: str) -> str:
        """What a command of the project says there."""
        return self.run(service, sys.executable, "-m", "bike_demand", *arguments)

    def rows(self, database: str, sql: str) -> list[tuple[object, ...]]:
        """Rows of a database."""
        return query(self.ports[5432], USER, PASSWORD, database, sql)

    @contextmanager
    def started(self, service: str, probe: str, port: int, **more: str) -> Iterator[str]:
        """A service, once it answers; its address."""
        command = self.machine.command(service)
        running = Service(
            self.folder,
            self.scratch / f"{service}.log",
            self.ports[port],
            self.machine.environment(service, **more),
            command,
            probe,
        )
        with running:
            running.start()
            yield running.url


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    folder = workcopy.make(level(4), tmp_path / "project")
    (folder / "feed").mkdir()
    for path in sorted((ROOT / "data" / "feed").glob("*.csv")):
        if path.stem < "2011-06":
            shutil.copy(path, folder / "feed")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with running_postgres(tmp_path / "postgres", USER, PASSWORD) as port:
        ports = {each: free_port() for each in (8000, 5000, 4200, 8080)} | {5432: port}
        machine = Machine(folder, scratch, ports, {"POSTGRES_PASSWORD": PASSWORD})
        query(port, USER, PASSWORD, "postgres", f"CREATE DATABASE {USER}")  # as the image does
        made = machine.content["configs"]["databases"]["content"]
        for line in made.splitlines():
            query(port, USER, PASSWORD, USER, line)
        yield Servers(machine, folder, scratch, ports)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_level_4_lives_on_postgresql_an_mlflow_server_and_a_prefect_server(servers: Servers) -> None:
    with ExitStack() as stack:
        mlflow = stack.enter_context(servers.started("mlflow", "/health", 5000))
        for host, status in (("mlflow", 200), ("elsewhere.example.org", 403)):
            requests = httpx.get(f"{mlflow}/", headers={"Host": f"{host}:{servers.ports[5000]}"})
            assert requests.status_code == status, host
        # A monitoring cycle trains, because nothing is live, and releases.
        assert "live" in servers.project("agent", "agent", "--once")
        assert servers.rows(
            "mlflow", "SELECT alias, version FROM registered_model_aliases ORDER BY alias"
        ) == [
            ("candidate", 1),
            ("champion", 1),
            ("trained", 1),
        ]
        assert servers.rows(USER, "SELECT state, version FROM trainings") == [("done", 1)]

        client = servers.project("application", "key", "planning").strip()
        operations = servers.project("application", "key", "prometheus", "--operations").strip()
        url = stack.enter_context(application(servers))
        with httpx.Client(base_url=url, timeout=30, headers={"X-API-Key": client}) as users:
            hours = last_days(servers.folder / "feed" / "2011-05.csv", 3)
            answers = (
                users.post("/predict", json=[requests for requests, _ in hours]).raise_for_status().json()
            )
            reported = [{"timestamp": requests["timestamp"], "count": count} for requests, count in hours]
            assert users.post("/outcomes", json=reported).raise_for_status().json()["new"] == len(hours)
            assert users.get("/metrics").status_code == 403
        # As Prometheus scrapes, by its configuration.
        config = yaml.safe_load((servers.folder / "prometheus.yaml").read_text(encoding="utf-8"))
        (header,) = config["scrape_configs"][0]["http_headers"]
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert "bike_demand_" in httpx.get(f"{url}/metrics", headers={header: operations}).text
        for attempt in range(100):  # the log is written off the path
            if servers.rows(USER, "SELECT count(*) FROM predictions") == [(len(hours),)]:
                break
            time.sleep(0.1)
            assert attempt < 99, "the answers are not in the log"
        assert servers.rows(USER, "SELECT count(*) FROM outcomes") == [(len(hours),)]
        traced = servers.project("agent", "trace", answers[0]["id"], "--rows")
        assert re.search(r"(?m)^  folder: \S", traced)
        assert re.search(r"(?m)^  version: ", traced)

        # The same loop as flows: what was deployed is run by the worker, and looks at the same database.
        api = stack.enter_context(servers.started("prefect", "/api/health", 4200)) + "/api"
        for _ in range(2):  # it runs again at each `docker compose up`
            servers.run("schedule")
        automations = httpx.post(f"{api}/automations/filter", json={}).raise_for_status().json()
        assert len(automations) == 2  # of a signal, and of a version that a person trained
        stack.enter_context(
            servers.started("worker", "/health", 8080, PREFECT_WORKER_WEBSERVER_PORT=str(servers.ports[8080]))
        )
        look = httpx.get(f"{api}/deployments/name/monitoring-cycle/loop").raise_for_status().json()
        asked_for = httpx.post(f"{api}/deployments/{look['id']}/create_flow_run", json={}).raise_for_status()
        state = ended(f"{api}/flow_runs/{asked_for.json()['id']}")
        assert state == "COMPLETED", (servers.scratch / "worker.log").read_text(encoding="utf-8")[-3000:]
        assert servers.rows("prefect", "SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'") == [
            (1,)
        ]
        monitored = json.loads(servers.project("agent", "monitor", "--json"))
        assert monitored["releases"][-1]["version"] == 1
        assert sum(day["rows"] for day in monitored["days"]) == len(hours)
        assert all(day["error"] is not None for day in monitored["days"])
        assert servers.rows(USER, "SELECT count(*) > 0 FROM daily_stats") == [(True,)]
        traced = servers.project("agent", "trace", answers[0]["id"], "--rows")
    # Only the gates' own test environment keeps a database here.
    assert [path.name for path in (servers.folder / "state").glob("*.db")] == ["test.db"]

    # What was backed up, as the page says, is enough to go on.
    for database in (USER, "mlflow"):
        restore(servers, database)
    with servers.started("mlflow", "/health", 5000):
        again = servers.project("agent", "trace", answers[0]["id"], "--rows")
        assert re.sub(r"\S*/traced/\S+", "", again) == re.sub(r"\S*/traced/\S+", "", traced)


def restore(servers: Servers, database: str) -> None:
    """Back a database up, lose it, and put it back, by the lines of the page."""
    to = {"PGHOST": "127.0.0.1", "PGPORT": str(servers.ports[5432]), "PGPASSWORD": PASSWORD}
    dump = servers.scratch / f"{database}.dump"
    for name in ("pg_dump", "pg_restore"):
        (line,) = re.findall(
            rf"(?m)^ +docker compose exec (?:-T )?postgres ({name} .*) [<>] {database}\.dump$", PAGE
        )
        place = program(name)
        assert place, f"{name} is not next to the server"
        taking = name == "pg_dump"
        with dump.open("wb" if taking else "rb") as file:
            stream = {"stdout": file} if taking else {"stdin": file}
            subprocess.run([place, *line.split()[1:]], env={**os.environ, **to}, check=True, **stream)  # type: ignore[call-overload]
        if taking:
            query(servers.ports[5432], USER, PASSWORD, "postgres", f"DROP DATABASE {database} WITH (FORCE)")
            query(servers.ports[5432], USER, PASSWORD, "postgres", f"CREATE DATABASE {database}")


@contextmanager
def application(servers: Servers) -> Iterator[str]:
    """The application by the command of its image."""
    text = (servers.folder / "Dockerfile").read_text(encoding="utf-8")
    (command,) = re.findall(r"(?m)^CMD (\[.+\])$", text)
    servers.machine.content["services"]["application"]["command"] = json.loads(command)
    with servers.started("application", "/live", 8000) as url:
        until = time.monotonic() + 60
        while httpx.get(f"{url}/ready").status_code != 200:
            assert time.monotonic() < until, "the application takes no model"
            time.sleep(0.1)
        yield url


def last_days(file: Path, days: int) -> list[tuple[dict[str, Any], int]]:
    """The last days of a month: the request for each hour, and its label."""
    import pandas as pd

    frame = pd.read_csv(file)
    end = pd.Timestamp(frame["timestamp"].iloc[-1]).normalize() - pd.Timedelta(days=days - 1)
    frame = frame[pd.to_datetime(frame["timestamp"]) >= end]
    requests = json.loads(frame.drop(columns=["casual", "registered", "count"]).to_json(orient="records"))
    return list(zip(requests, frame["count"].astype(int).tolist(), strict=True))


def ended(run: str) -> str:
    """How a flow run ended."""
    until = time.monotonic() + 300
    while True:
        state = httpx.get(run).raise_for_status().json()["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return str(state["type"])
        assert time.monotonic() < until, state
        time.sleep(0.5)

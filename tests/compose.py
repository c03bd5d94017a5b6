"""Reads a compose.yaml, and starts its services as processes of this machine: there is no Docker in tests."""

import os
import re
import shlex
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
FOREIGN = ("BIKE_", "MLFLOW_", "PREFECT_", "DVC_", "GIT_", "COMPOSE_")


def read(path: Path) -> dict[str, Any]:
    """The file, with anchors followed; variables are still in it."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def words(command: str | Sequence[str]) -> list[str]:
    """A command as a list."""
    return shlex.split(command) if isinstance(command, str) else list(command)


def strings(value: Any) -> list[str]:
    """Every text in a part of the file."""
    if isinstance(value, Mapping):
        return [text for each in value.values() for text in strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return [str(value)]


class Machine:
    """One machine in the place of all containers: their services lie on loopback, at other ports.

    `ports` says where the port of a service is, `folder` what /app is in the containers, and `variables` are
    those of .env.
    """

    def __init__(
        self, folder: Path, scratch: Path, ports: Mapping[int, int], variables: Mapping[str, str]
    ) -> None:
        self.content = read(folder / "compose.yaml")
        self._folder, self._scratch, self._ports, self._variables = folder, scratch, ports, variables

    def command(self, service: str) -> list[str]:
        """What a service runs."""
        return [self.here(each) for each in words(self.content["services"][service]["command"])]

    def environment(self, service: str, **more: str) -> dict[str, str]:
        """The environment variables of a service, without settings of the user."""
        given = self.content["services"][service].get("environment", {})
        mine = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        mine["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), mine["PATH"]])
        mine |= {"HOME": str(self._scratch), "OMP_NUM_THREADS": "1", "TMPDIR": str(self._scratch)}
        return mine | {name: self.here(str(value)) for name, value in given.items()} | more

    def here(self, text: str) -> str:
        """The text with variables filled in, and with the addresses and paths of this machine."""
        ports = "|".join(map(str, self._ports))
        text = re.sub(rf"\b({ports})\b", lambda found: str(self._ports[int(found[1])]), text)
        hosts = "|".join(self.content["services"])
        text = re.sub(rf"(?<=[@/])({hosts})(?=:\d)", "127.0.0.1", text).replace("0.0.0.0", "127.0.0.1")
        text = VARIABLE.sub(self._value, text)
        return text.replace("/tmp/", f"{self._scratch}/").replace("/app/", f"{self._folder}/")

    def _value(self, found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if value := self._variables.get(name):
            return value
        assert kind == "-", f"{name} is not set"
        return str(rest)

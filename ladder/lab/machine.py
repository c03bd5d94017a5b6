"""Checks of lab 0: whether this machine is ready, so that problems show before the workshop."""

import os
import shutil
from collections.abc import Callable

from ladder import GIVEN_NO_PROXY, UserError, git
from ladder.lab.definition import labs
from ladder.lab.work import is_prepared
from ladder.service import is_port_free
from ladder.workcopy import home

PORTS = (8000, 5000, 4200)  # the application, MLflow and Prefect, by default


def new_enough_git() -> str | None:
    """The version of git, if it is installed and recent enough."""
    try:
        return git.require()
    except UserError:
        return None


def git_name() -> str | None:
    """The name that commits get."""
    place = home()
    place.mkdir(parents=True, exist_ok=True)
    name, mail = (git.setting(place, f"user.{what}") for what in ("name", "email"))
    return f"{name} <{mail}>" if name and mail else None


def disk() -> float:
    """Free disk space at the working copies, in GB."""
    place = home()
    place.mkdir(parents=True, exist_ok=True)
    return round(shutil.disk_usage(place).free / 1e9, 1)


def ports() -> list[int]:
    """Ports of PORTS that another program has."""
    return [each for each in PORTS if not is_port_free(each)]


def proxy() -> bool:
    """Whether programs reach services of this machine, though there may be a proxy for the internet.

    In the tool itself they do, as it excepts this machine; other programs in the same terminal need it set.
    """
    given = os.environ.get(GIVEN_NO_PROXY)
    return given is None or bool({"127.0.0.1", "*"} & {each.strip() for each in given.split(",")})


def unprepared_labs() -> list[int]:
    """Numbers of the labs that were neither begun nor prepared."""
    return [each.number for each in labs().values() if not is_prepared(each)]


CHECKS: dict[str, Callable[[], object]] = {
    "git": new_enough_git,
    "git-name": git_name,
    "disk": disk,
    "ports": ports,
    "proxy": proxy,
    "prepared": unprepared_labs,
}

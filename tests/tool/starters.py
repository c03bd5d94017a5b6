"""What people do with a project of their own: ten changes, and what each has to look like afterwards."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ladder import ROOT
from ladder.git import git, split_nul
from ladder.levels import levels
from ladder.starter.rename import PACKAGE

NAME = "taxi_rides"
_TRACE = re.compile(
    "|".join(
        (
            r"mlops[-_ ]?ladder",
            r"\bladder\b",
            r"\blevels?[-_ ]?\d",
            *(re.escape(each.folder.name.partition("_")[2]) for each in levels() if each.number > 1),
        )
    )
)
CONFLICT = re.compile(r"^<<<<<<< [^\n]*\n(.*?)^=======\n(.*?)^>>>>>>> [^\n]*\n", re.MULTILINE | re.DOTALL)

WHO = ("-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")


def tracked(project: Path) -> list[str]:
    """The files that git knows, in order."""
    return sorted(split_nul(git(project, "ls-files", "-z")))


def commit(project: Path, message: str = "Our own") -> None:
    git(project, "add", "--all")
    git(project, *WHO, "commit", "--quiet", "--no-verify", "--message", message)


def settle(project: Path) -> None:
    """What the advice says: keep both sides; what was deleted stays away, what is gone stays here."""
    stages: dict[str, set[str]] = {}
    for entry in split_nul(git(project, "ls-files", "--unmerged", "-z")):
        about, _, path = entry.partition("\t")
        stages.setdefault(path, set()).add(about.split()[2])
    for path, found in stages.items():
        if "2" not in found:
            git(project, "rm", "--quiet", "--", path)
        else:
            text = (project / path).read_text(encoding="utf-8")
            (project / path).write_text(CONFLICT.sub(r"\2\1", text), encoding="utf-8", newline="\n")
            git(project, "add", "--", path)


def run(project: Path, *command: str, timeout: float = 280) -> "subprocess.CompletedProcess[str]":
    """Run Python in the project; its output is in the assertion if it fails."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def replace(path: Path, old: str, new: str) -> None:
    """Put another text in the place of one that is there exactly once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path}: {old!r} is there {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class Edit:
    """A change: `make` makes it in a project, `kept` raises AssertionError where it is not there."""

    what: str
    make: Callable[[Path], None]
    kept: Callable[[Path], None]


def has(name: str, *texts: str) -> Callable[[Path], None]:
    """That a file of the project has these texts."""

    def check(project: Path) -> None:
        content = (project / name).read_text(encoding="utf-8")
        for text in texts:
            assert text in content, f"{name}: {text}"

    return check


def lacks(*names: str) -> Callable[[Path], None]:
    def check(project: Path) -> None:
        assert not [name for name in names if (project / name).exists()]

    return check


# ---- what people change in a project with a package


def _feature(project: Path) -> None:
    path = project / NAME / "problem" / "features.py"
    replace(
        path,
        "    return calendar | {name: columns[name] for name in PASSTHROUGH}\n",
        '    return calendar | {name: columns[name] for name in PASSTHROUGH} | {"rush": rush(columns)}\n',
    )
    replace(
        path,
        "def hour(",
        "def rush(columns: Columns) -> Array:\n"
        '    """Whether people are on their way to work or home."""\n'
        '    on_the_way: Array = np.isin(hour(columns), (8, 17, 18)) & (columns["workingday"] == 1)\n'
        "    return on_the_way\n\n\ndef hour(",
    )
    replace(
        project / "tests" / "problem" / "test_bikes.py",
        '        "windspeed_kmh": 13.0,\n',
        '        "windspeed_kmh": 13.0,\n        "rush": 0,\n',
    )


def _threshold(project: Path) -> None:
    replace(project / "params.yaml", "half_life_days: 30 ", "half_life_days: 45 ")


def _endpoint(project: Path) -> None:
    path = project / NAME / "serving" / "web.py"
    replace(
        path,
        f"from {NAME}.core.current import PROBLEM\n",
        f"from {NAME}.core.current import INPUT_COLUMNS, PROBLEM\n",
    )
    replace(
        path,
        '        return Status(status="live")\n',
        '        return Status(status="live")\n\n'
        '    @app.get("/columns", summary="What does a row need?")\n'
        "    async def columns() -> list[str]:\n"
        "        return list(INPUT_COLUMNS)\n",
    )


OWN_TEST = f'''\
"""What is our own: the rush hours, and the endpoint that lists the columns."""

from pathlib import Path

from {NAME}.core.settings import load_settings
from {NAME}.problem import PROBLEM
from tests.problem.samples import columns_of

ROOT = Path(__file__).parents[2]


def test_five_in_the_afternoon_of_a_working_day_is_a_rush_hour() -> None:
    rows = [PROBLEM.example, dict(PROBLEM.example) | {{"workingday": 0}}]
    assert PROBLEM.features(columns_of(PROBLEM, rows))["rush"].tolist() == [True, False]


def test_the_columns_are_listed() -> None:
    source = (ROOT / "{NAME}" / "serving" / "web.py").read_text(encoding="utf-8")
    assert '"/columns"' in source
    assert PROBLEM.time == "timestamp"


def test_our_garage_holds_cars() -> None:
    settings = load_settings(ROOT / "params.yaml")
    assert settings.garage.cars == 40
    assert settings.training.half_life_days == 45
'''


def _test(project: Path) -> None:
    (project / "tests" / "problem" / "test_own.py").write_text(OWN_TEST, encoding="utf-8", newline="\n")


def _readme(project: Path) -> None:
    replace(
        project / "README.md",
        "Describe here what it is for, and whom to ask.\n",
        "Rides of our taxis in the next hour, for the dispatchers. Ask Mira.\n",
    )


def _workflow(project: Path) -> None:
    path = project / ".github" / "workflows" / "application.yml"
    replace(path, "      - run: mypy\n", f"      - run: mypy\n      - run: python -m {NAME} --help\n")


def _dependency(project: Path) -> None:
    replace(project / "pyproject.toml", '    "numpy<2.5",\n', '    "fastjsonschema>=2",\n    "numpy<2.5",\n')
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found = re.search(r"^fastjsonschema==.*\n(?:[ \t].*\n)+", lock, re.MULTILINE)
    assert found
    path = project / "requirements.lock"
    before, numpy, after = re.split(
        r"^(?=numpy==)()", path.read_text(encoding="utf-8"), maxsplit=1, flags=re.MULTILINE
    )
    path.write_text(before + found.group() + numpy + after, encoding="utf-8", newline="\n")


def _setting(project: Path) -> None:
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\ngarage: # our own\n  cars: 40\n", encoding="utf-8", newline="\n")
    path = project / NAME / "core" / "settings.py"
    replace(
        path,
        "class Settings(YamlSettings):",
        'class Garage(Section):\n    """What we have."""\n\n    cars: Annotated[int, Field(ge=1)] = 40\n\n\n'
        "class Settings(YamlSettings):",
    )
    own = "    training: TrainingSettings = TrainingSettings()\n"
    replace(path, own, f"{own}    garage: Garage = Garage()\n")
    if (project / "dvc.yaml").exists():
        (project / NAME / "busy.py").write_text(
            f'"""Prints the busiest hour: `python -m {NAME}.busy`, a stage of each training."""\n\n'
            "import json\n"
            "from pathlib import Path\n\n"
            f"from {NAME}.core.current import LABEL, TIME\n"
            f"from {NAME}.data.ingested import read_rows\n\n"
            'if __name__ == "__main__":\n'
            '    rows = read_rows(Path("state") / "data")\n'
            "    found = rows.loc[rows[LABEL].idxmax(), TIME]\n"
            '    text = json.dumps({"busiest": found.isoformat()})\n'
            '    Path("state", "run", "busy.json").write_text(text, encoding="utf-8")\n',
            encoding="utf-8",
            newline="\n",
        )
        path = project / "dvc.yaml"
        text = path.read_text(encoding="utf-8")
        stage = (
            f"  busy:\n    cmd: python -m {NAME}.busy\n    deps: [state/data, {NAME}/busy.py]\n"
            "    outs: [state/run/busy.json]\n"
        )
        path.write_text(text + stage, encoding="utf-8", newline="\n")


def _setting_kept(project: Path) -> None:
    has("params.yaml", "garage: # our own\n  cars: 40\n")(project)
    has(f"{NAME}/core/settings.py", "class Garage(Section)", "    garage: Garage = Garage()\n")(project)
    if (project / NAME / "busy.py").exists():
        has("dvc.yaml", f"cmd: python -m {NAME}.busy")(project)


def _delete(project: Path) -> None:
    (project / "tests" / "test_ingest_remote.py").unlink()
    (project / ".github" / "CODEOWNERS").unlink()


def _package_kept(project: Path) -> None:
    assert (project / NAME / "__init__.py").is_file()
    assert not (project / PACKAGE).exists()
    word = re.compile(rf"(?<![\w-]){PACKAGE}(?![\w-])")
    assert not [name for name in tracked(project) if word.search(text_of(project / name))]


def trace(text: str) -> str:
    """The first word that names the template, or a level's number or folder, in any case; "" if none."""
    found = _TRACE.search(text.lower())
    return found.group() if found else ""


def text_of(path: Path) -> str:
    """The file's text; of one that is not text, nothing."""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8")


def _dependency_kept(project: Path) -> None:
    has("pyproject.toml", '    "fastjsonschema>=2",\n')(project)
    has("requirements.lock", "\nfastjsonschema==")(project)


TEN = (
    Edit("the package has another name", lambda _: None, _package_kept),
    Edit("a feature", _feature, has(f"{NAME}/problem/features.py", "def rush(", '{"rush": rush(columns)}')),
    Edit("a threshold", _threshold, has("params.yaml", "half_life_days: 45 ")),
    Edit(
        "an endpoint",
        _endpoint,
        has(f"{NAME}/serving/web.py", '@app.get("/columns"', "INPUT_COLUMNS, PROBLEM\n"),
    ),
    Edit("a test", _test, has("tests/problem/test_own.py", OWN_TEST)),
    Edit("words", _readme, has("README.md", "Ask Mira.")),
    Edit("a step of a workflow", _workflow, has(".github/workflows/application.yml", f"{NAME} --help")),
    Edit("a dependency", _dependency, _dependency_kept),
    Edit("a setting, and a stage where there are stages", _setting, _setting_kept),
    Edit("files that are not wanted", _delete, lacks("tests/test_ingest_remote.py", ".github/CODEOWNERS")),
)

# ---- what people change in a notebook, an email and a script


def _appended(name: str, text: str) -> Edit:
    def make(project: Path) -> None:
        path = project / name
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(before + text, encoding="utf-8", newline="\n")

    return Edit(f"{name} goes on", make, has(name, text))


def _exchanged(name: str, old: str, new: str) -> Edit:
    return Edit(
        f"{name} says it otherwise", lambda project: replace(project / name, old, new), has(name, new)
    )


TEN_BY_HAND = (
    Edit("the package will have another name", lambda _: None, has(".starter.toml", f'package = "{NAME}"')),
    _exchanged("demand.ipynb", "R2 above 0.9, looks great.", "R2 above 0.8, looks good."),
    _exchanged("score.py", '(frame["weekday"] < 6)', '(frame["weekday"] < 5)'),
    _exchanged("handoff/README.txt", "Call me if", "Write to Mira if"),
    _exchanged(
        "README.md", "Describe here what it is for, and whom to ask.", "For the dispatchers. Ask Mira."
    ),
    _appended("day.csv", "2011-06-12T00:00:00,0,0,2,20.3,19.8,0.78,13.3\n"),
    _appended(".gitignore", "/holidays.csv\n"),
    _appended("notes.md", "The portal lies about rain.\n"),
    _appended("worst.py", '"""Prints the worst hour."""\n\nprint("5 in the morning")\n'),
    Edit(
        "a file that is not wanted",
        lambda project: (project / "handoff" / "requirements.txt").unlink(),
        lacks("handoff/requirements.txt"),
    ),
)


def edits(number: int) -> tuple[Edit, ...]:
    """Ten changes that people make to a project of that level."""
    return TEN if number else TEN_BY_HAND

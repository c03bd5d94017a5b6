"""The README of a project of one's own, made from that of its level."""

import re
from pathlib import Path

HANDBOOK = "docs/handbook.md"
LOCK_COMMAND = (
    "uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate"
    " --all-extras pyproject.toml --output-file requirements.lock"
)

# What people change, and where; a row is shown where its first path is there.
PLACES = (
    ("params.yaml", "where the data come from", "`feed` in `params.yaml`, or the variable `BIKE_FEED`"),
    ("bike_demand/data/schema.py", "what a row is, and what may be in it", "`bike_demand/data/schema.py`"),
    ("bike_demand/data/target.py", "what is predicted", "`bike_demand/data/target.py`"),
    ("bike_demand/data/features.py", "what the model sees of it", "`bike_demand/data/features.py`"),
    ("bike_demand/data/quality.py", "which data stop a training", "`quality` in `params.yaml`"),
    (
        "bike_demand/training/model.py",
        "the model",
        "`bike_demand/training/model.py`, its numbers: `training` in `params.yaml`",
    ),
    ("dvc.yaml", "the steps of a training", "`dvc.yaml`, `bike_demand/stages.py`"),
    (
        "prefect.yaml",
        "when it runs",
        "`flow` in `params.yaml`; `python -m bike_demand.schedule` then writes `prefect.yaml`",
    ),
    (
        "bike_demand/release/gates",
        "what a version has to pass",
        "`bike_demand/release/gates/`, `params.yaml`",
    ),
    (
        "bike_demand/release/gate.py",
        "what a version has to pass",
        "`bike_demand/release/gate.py`, `params.yaml`",
    ),
    (
        "bike_demand/monitoring",
        "what is watched, and when to train",
        "`monitoring` and `trigger` in `params.yaml`",
    ),
    ("bike_demand/serving/app.py", "what is answered over HTTP", "`bike_demand/serving/app.py`"),
    ("bike_demand/settings.py", "a setting", "`params.yaml`, and its type in `bike_demand/settings.py`"),
    ("requirements.lock", "a package", "`pyproject.toml`; then lock again, see below"),
    (
        ".github/CODEOWNERS",
        "who has to agree to a change",
        "`.github/CODEOWNERS`: it needs your teams' names",
    ),
    (".github/workflows", "what runs on each change", "`.github/workflows/`"),
    ("demand.ipynb", "the model", "`demand.ipynb`"),
    ("score.py", "how predictions are made", "`score.py`"),
)

YOURS = """\
## Your project

Say here what it is for, and whom to ask.

All of it is yours to change. The feed lies in `feed/`, which is not in version control. `.starter.toml` and
the branch `template` say what the project began with: leave both as they are, so that an update can tell your
changes from those of the template.
"""


def write(folder: Path) -> None:
    """Put a README in the place of the level's; what of that does not belong there goes to the handbook."""
    path = folder / "README.md"
    title, intro, sections = _parts(path.read_text(encoding="utf-8"))
    made = [title, intro, YOURS, sections.pop("Try it", ""), _places(folder)]
    if (folder / "requirements.lock").is_file():
        made.append(
            f"With [uv](https://docs.astral.sh/uv/) installed, this locks again:\n\n    {LOCK_COMMAND}\n"
        )
    if sections:
        made.append(f"How its parts work together: [{HANDBOOK}]({HANDBOOK}).\n")
        handbook = folder / HANDBOOK
        handbook.parent.mkdir(exist_ok=True)
        text = "\n".join(["# How it works\n", *sections.values()])
        handbook.write_text(text, encoding="utf-8", newline="\n")
    path.write_text("\n".join(each for each in made if each), encoding="utf-8", newline="\n")


def _parts(text: str) -> tuple[str, str, dict[str, str]]:
    """Title, what stands before the first section, and the sections with their headings, by name."""
    title, _, rest = text.partition("\n")
    intro, *found = re.split(r"(?m)^(?=## )", rest)
    sections = {each.partition("\n")[0].removeprefix("## "): each.rstrip() + "\n" for each in found}
    return title + "\n", intro.strip() + "\n", sections


def _places(folder: Path) -> str:
    rows = [f"| {what} | {where} |" for path, what, where in PLACES if (folder / path).exists()]
    return "\n".join(["## Where to change what\n", "| to change | go to |", "|---|---|", *rows, ""])

"""The files of a project, from its folder or a commit. Nothing is executed, no link is followed."""

import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ladder import UserError
from ladder.git import run_unchecked, split_nul
from ladder.source import UTF_16, text_of


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# Folders with third-party code or build results.
SKIPPED = words(
    "node_modules site-packages dist-packages vendor vendored third_party third-party bower_components "
    "venv env virtualenv __pycache__ build dist target htmlcov mlruns mlartifacts wandb lightning_logs"
)
DOTTED = words(".github .gitlab .azure .azure-pipelines .azuredevops .dvc .ci .buildkite .circleci")
# Folders whose content is shown, not used: it is evidence of nothing.
EXAMPLES = words(
    "examples example tutorials tutorial docs doc samples sample demos demo cookbook templates template "
    "quickstart quickstarts fixtures testdata test_data courses lessons exercises workshop"
)
PLACEHOLDER = re.compile(r"\{\{.*\}\}|\{%|\.(j2|jinja2?|tmpl|tpl)$")  # a template of a project's file
TEXT = words(
    ".py .ipynb .yml .yaml .toml .cfg .ini .txt .in .lock .sh .bash .mk .json .tf .bicep .sql .rego .md"
)
NAMES = re.compile(
    r"(^|\.)(dockerfile|containerfile)|^(makefile|justfile|procfile|jenkinsfile|crontab|mlproject|pipfile)|^\.gitignore$"
    r"|^codeowners$",
    re.IGNORECASE,
)
LARGEST = 2_000_000  # bytes; a larger file is data
LARGEST_NOTEBOOK = 20_000_000  # including its pictures
MAX_FILES = 50_000
# Git must not run anything that the project configures.
SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never")
OFFLINE = {"GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1"}


@dataclass(frozen=True)
class Tree:
    """The text files of a project by POSIX name, ascending; `commit` is None for the folder's current state.

    `all_names` includes files that are not text. `prefix` is the project's path in its repository.
    """

    root: Path
    files: Mapping[str, str]
    all_names: tuple[str, ...]
    commit: str | None = None
    versioned: bool = False
    prefix: str = ""
    ignored: Mapping[str, int] = field(default_factory=dict)  # number of example files, by folder
    outer: Mapping[str, str] = field(default_factory=dict)  # CI files of the surrounding repository


def read_tree(path: Path, sub: str | None = None, rev: str | None = None) -> Tree:
    """Read a project, or the part `sub` of it, from the folder or from a commit.

    Raises UserError if the folder, part or commit does not exist.
    """
    root = path.expanduser().resolve()
    if not root.is_dir():
        raise UserError(f"{path}: no such folder; give the folder of a project")
    if sub:
        inside = (root / sub).resolve()
        if not inside.is_relative_to(root):
            raise UserError(f"--path {sub}: not in {root}")
        if rev is None and not inside.is_dir():
            raise UserError(f"--path {sub}: {root} has no such folder")
        root = inside if rev is None else root
    prefix = _prefix(root)
    if rev is not None:
        if prefix is None:
            raise UserError(f"--rev: {root} is not in a git repository")
        inner = PurePosixPath(prefix, Path(sub or "").as_posix()).as_posix().strip("/")
        return _committed(root, "" if inner == "." else inner, rev)
    every = _listed(root) if prefix is not None else []
    listed = sorted(every or _walked(root))  # the whole folder may be ignored by an outer repository
    chosen, ignored = _chosen(listed)
    files = _texts(root, filter(is_text, chosen))
    outer = _outer_files(root, prefix) if prefix else {}
    versioned = prefix is not None and bool(
        run_unchecked(root, *SAFE, "ls-files", "-z", ".", env=OFFLINE).stdout
    )
    return Tree(root, files, tuple(chosen), None, versioned, (prefix or "").strip("/"), ignored, outer)


def _prefix(root: Path) -> str | None:
    """The folder's path in its repository (`""` for the root); None outside a repository."""
    try:
        done = run_unchecked(root, *SAFE, "rev-parse", "--show-prefix", env=OFFLINE)
    except UserError:  # no git
        return None
    return done.stdout.strip("\n") if done.returncode == 0 else None


def _listed(root: Path) -> list[str]:
    """The files that git tracks or does not ignore; empty if it fails."""
    arguments = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    done = run_unchecked(root, *SAFE, *arguments, env=OFFLINE)
    return [name for name in split_nul(done.stdout) if not _skipped(name)] if done.returncode == 0 else []


def _walked(root: Path) -> Iterator[str]:
    found = 0
    for folder, folders, names in os.walk(root):  # follows no link, and leaves out what is not ours to read
        here = Path(folder)
        if "pyvenv.cfg" in names and here != root:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not _skipped(f"{name}/x")]
        files = [here / name for name in names if stat.S_ISREG((here / name).lstat().st_mode)]
        found += len(files)
        if found > MAX_FILES:
            raise UserError(f"{root}: more than {MAX_FILES:,} files; give a part of it with --path")
        yield from (path.relative_to(root).as_posix() for path in files)


def _skipped(name: str) -> bool:
    folders = name.split("/")[:-1]
    return any(
        part.lower() in SKIPPED
        or (part.startswith(".") and part not in DOTTED)
        or part.endswith((".egg-info", ".dist-info"))
        for part in folders
    )


def _chosen(listed: list[str]) -> tuple[list[str], dict[str, int]]:
    """The files that count, and the number of examples left out, by folder."""
    chosen, ignored = [], dict[str, int]()
    for name in listed:
        parts = name.split("/")
        example = next((at for at, part in enumerate(parts[:-1]) if part.lower() in EXAMPLES), None)
        if example is not None and not parts[0].startswith("."):
            folder = "/".join(parts[: example + 1]) + "/"
            ignored[folder] = ignored.get(folder, 0) + 1
        elif PLACEHOLDER.search(name):
            folder = next((part for part in parts if PLACEHOLDER.search(part)), name)
            ignored[folder] = ignored.get(folder, 0) + 1
        else:
            chosen.append(name)
    return chosen, ignored


def is_text(name: str) -> bool:
    """Whether rules read such a file."""
    last = name.rsplit("/", 1)[-1]
    return PurePosixPath(last).suffix.lower() in TEXT or bool(NAMES.search(last))


def _texts(root: Path, listed: Iterable[str]) -> dict[str, str]:
    """Contents by name, without links, files outside the folder, and large or binary files."""
    found: dict[str, str] = {}
    inside: dict[Path, bool] = {}
    for name in listed:
        path = root / name
        folder = path.parent
        if folder not in inside:
            inside[folder] = folder.resolve().is_relative_to(root)
        try:
            entry = path.lstat()
            if not inside[folder] or not stat.S_ISREG(entry.st_mode) or entry.st_size > _largest(name):
                continue
            text = decoded(path.read_bytes())
        except OSError:  # not ours to read
            continue
        if text is not None:
            found[name] = text
    return found


def _largest(name: str) -> int:
    return LARGEST_NOTEBOOK if name.endswith(".ipynb") else LARGEST


def decoded(content: bytes) -> str | None:
    """The text with normalised line endings; None for binary content."""
    if b"\0" in content[:4096] and not content.startswith(UTF_16):
        return None
    text = text_of(content, "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _committed(root: Path, prefix: str, rev: str) -> Tree:
    if rev.startswith("-"):
        raise UserError(f"--rev {rev}: not a commit")
    known = run_unchecked(
        root, *SAFE, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}", env=OFFLINE
    )
    if known.returncode:
        raise UserError(f"--rev {rev}: {root} has no such commit (a shallow clone has only the newest)")
    commit = known.stdout.strip()
    listed: dict[str, str] = {}
    around: dict[str, str] = {}
    entry = "--format=%(objectmode) %(objectname) %(objectsize) %(path)"
    whole = run_unchecked(root, *SAFE, "ls-tree", "-r", "-z", "--full-tree", entry, commit, env=OFFLINE)
    if whole.returncode:
        raise UserError(f"--rev {rev}: {whole.stderr.strip()}")
    for line in split_nul(whole.stdout):
        mode, blob, size, name = line.split(" ", 3)
        if mode not in ("100644", "100755"):  # no link, no other repository
            continue
        inside = name.removeprefix(f"{prefix}/") if prefix else name
        if prefix and inside == name:
            if is_ci(name):
                around[name] = blob
        elif not _skipped(inside):
            listed[inside] = blob if not is_text(inside) or int(size) <= _largest(inside) else ""
    if prefix and not listed:
        raise UserError(f"--rev {rev}: the commit has no folder {prefix}")
    chosen, ignored = _chosen(sorted(listed))
    blobs = {name: listed[name] for name in filter(is_text, chosen) if listed[name]}
    contents = _contents(root, [*blobs.values(), *around.values()])
    files = {name: text for name, blob in blobs.items() if (text := contents.get(blob)) is not None}
    outer = {name: text for name, blob in around.items() if (text := contents.get(blob)) is not None}
    return Tree(root, files, tuple(chosen), commit, True, prefix, ignored, outer)


def _contents(root: Path, blobs: list[str]) -> dict[str, str | None]:
    """The texts of blobs, by their id."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *SAFE, "cat-file", "--batch"],
        cwd=root,
        env=environment | OFFLINE | {"LC_ALL": "C"},
        input="".join(f"{blob}\n" for blob in blobs).encode(),
        capture_output=True,
        check=False,
    )
    found: dict[str, str | None] = {}
    at, output = 0, done.stdout
    while at < len(output):
        end = output.index(b"\n", at)
        head = output[at:end].split()
        at = end + 1
        if len(head) != 3 or not head[2].isdigit():  # missing
            continue
        size = int(head[2])
        found[head[0].decode()] = decoded(output[at : at + size])
        at += size + 1
    return found


CI = re.compile(
    r"^\.github/workflows/[^/]+\.ya?ml$|^\.gitlab-ci\.ya?ml$|^\.gitlab/.*\.ya?ml$|^\.?azure-pipelines[^/]*\.ya?ml$"
    r"|^\.(azure-pipelines|azuredevops|azure|ci)/.*\.ya?ml$|^(pipelines?|ci)/[^/]*azure[^/]*\.ya?ml$"
)


def is_ci(name: str) -> bool:
    """Whether a CI system would read that file, by its name from the root of the repository."""
    return bool(CI.match(name))


def _outer_files(root: Path, prefix: str) -> dict[str, str]:
    """The CI files of the repository in which the project is a folder."""
    top = root.joinpath(*[".."] * len(PurePosixPath(prefix).parts)).resolve()
    listed: list[str] = []
    for folder in (*(DOTTED - {".dvc"}), "pipeline", "pipelines", "ci", ""):
        base = top / folder
        if base.is_dir() and not base.is_symlink():
            paths = base.rglob("*") if folder.startswith(".") else base.iterdir()
            listed += filter(is_ci, (path.relative_to(top).as_posix() for path in paths))
    return _texts(top, sorted(listed))

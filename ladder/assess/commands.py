"""Command lines in jobs, scripts, Makefiles and Dockerfiles, and whether their failure has an effect."""

import re
from collections.abc import Iterator, Mapping

# Ways to ignore a failure.
IGNORED = re.compile(
    r"\|\|\s*(true\b|:(?=\s|$)|exit\s+0\b|\$true\b|(echo|printf)\b[^;&|]*$)|;\s*(true|:|exit\s+0)\s*(#|$)"
)
NEVER_FAILS = re.compile(r"^\s*set\s+\+e\b")
FAILS_AGAIN = re.compile(r"^\s*set\s+-\w*e")
COMMENT = re.compile(r"(^|\s)#(?![{!]).*$")
CALLED_SCRIPT = re.compile(r"^(?:(?:ba|z|da)?sh\s+(?:-\w+\s+)*|source\s+|\.\s+)?\.?/?([\w./-]+)(?:\s|$)")
MAKE = re.compile(r"^make\s+(?:-C\s+\S+\s+)?(?:-\w+\s+)*([\w./-]+)")
SCRIPTS = (".sh", ".bash")
DEEPEST = 4


def lines(text: str, first: int = 1) -> Iterator[tuple[int, str, str]]:
    """Each command with its line, and why its failure is ignored (empty if it is not)."""
    ignoring = ""
    waiting, start = "", first
    for number, raw in enumerate(text.split("\n"), first):
        line = raw.strip()
        if not waiting:
            start = number
        if line.startswith("#") and not waiting:
            continue
        if line.endswith("\\"):
            waiting += line[:-1].rstrip() + " "
            continue
        command = (waiting + line).strip()
        waiting = ""
        if not command:
            continue
        if NEVER_FAILS.match(command):
            ignoring = "set +e ignores a failure"
        elif FAILS_AGAIN.match(command):
            ignoring = ""
        bare = COMMENT.sub("", command).strip()
        if not bare:
            continue
        found = IGNORED.search(bare)
        yield start, bare, f"`{found.group(0).strip()}` ignores a failure" if found else ignoring


def targets(makefile: str) -> dict[str, tuple[list[str], list[tuple[int, str, str]]]]:
    """The targets of a Makefile: prerequisites, and commands with line and why a failure is ignored."""
    found: dict[str, tuple[list[str], list[tuple[int, str, str]]]] = {}
    current: list[str] = []
    for number, raw in enumerate(makefile.split("\n"), 1):
        if raw.startswith("\t"):
            line = raw.strip().lstrip("@")
            ignored = "`-` ignores a failure" if line.startswith("-") else ""
            for _, command, off in lines(line.lstrip("@-+"), number):
                for name in current:
                    found[name][1].append((number, command, ignored or off))
        elif match := re.match(r"^([\w./ -]+?)\s*:(?![:=])\s*([^#=]*)", raw):
            current = match.group(1).split()
            for name in current:
                found.setdefault(name, ([], []))[0].extend(match.group(2).split())
        elif raw.strip() and not raw.startswith("#"):
            current = []
    return found


def expanded(
    line: int, command: str, off: str, file: str, files: Mapping[str, str], depth: int = 0
) -> Iterator[tuple[str, int, str, str]]:
    """The command, and the commands of scripts or Makefiles that it runs: file, line, command, off."""
    yield file, line, command, off
    if depth >= DEEPEST:
        return
    for part in re.split(r"&&|;|\|\|?", command):
        word = part.strip()
        if made := MAKE.match(word):
            for name in ("Makefile", "makefile"):
                if name in files:
                    yield from _made(made.group(1), name, off, files, depth)
        elif called := CALLED_SCRIPT.match(word):
            name = called.group(1).removeprefix("./")
            known = name if name in files else f".{name}" if f".{name}" in files else ""
            if known and (
                known.endswith(SCRIPTS) or (files[known].startswith("#!") and "sh" in files[known][:40])
            ):
                for number, inner, ignored in lines(files[known]):
                    yield from expanded(number, inner, off or ignored, known, files, depth + 1)


def _made(
    target: str, makefile: str, off: str, files: Mapping[str, str], depth: int
) -> Iterator[tuple[str, int, str, str]]:
    known = targets(files[makefile])
    done: set[str] = set()
    waiting = [target]
    while waiting:
        name = waiting.pop()
        if name in done or name not in known:
            continue
        done.add(name)
        needs, recipe = known[name]
        waiting.extend(needs)
        for number, inner, ignored in recipe:
            yield from expanded(number, inner, off or ignored, makefile, files, depth + 1)

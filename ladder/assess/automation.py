"""Facts about automation: CI of GitHub, GitLab and Azure DevOps, orchestrators and schedulers."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any

from ladder.assess import commands
from ladder.assess.facts import Fact
from ladder.assess.nodes import Items, Map, Text, documents, inner, maps, texts, walk
from ladder.assess.tree import words

FALSE = re.compile(
    r"^\s*(\$\{\{)?\s*(false|0|''|never\(\))\s*(\}\})?\s*$|\bfalse\s*&&|&&\s*false\b", re.IGNORECASE
)
TRUE = re.compile(r"^\s*(\$\{\{)?\s*true\s*(\}\})?\s*$", re.IGNORECASE)
# Commented-out parts of such a file, recognised because they read like configuration, not like a sentence.
COMMENTED = re.compile(
    r"^\s*#\s*(-\s*)?(cron\s*:\s*\S+|schedules?\s*:\s*$|on\s*:\s*(\S+)?$|jobs\s*:\s*$"
    r"|(-\s*)?(run|script|bash|uses|cmd)\s*:\s*\S+|needs\s*:\s*\S+|-\s+(pytest|python|dvc|make|bash|sh)\s+\S+|name\s*:\s*\w+$)",
    re.IGNORECASE,
)
GITHUB = re.compile(r"^\.github/workflows/[^/]+\.ya?ml$")
ACTION = re.compile(r"^\./\.github/actions/([\w./-]+)$")
GITLAB = re.compile(r"^\.gitlab-ci\.ya?ml$|^\.gitlab/.*\.ya?ml$")
KEYS_OF_GITLAB = words(
    "default include stages variables workflow image services cache before_script after_script spec"
)
EVENTS = words("repository_dispatch workflow_run deployment_status check_run registry_package issue_comment")
MOST_INCLUDES = 5  # nested ones, in case they are circular
LOCAL_CALL = re.compile(r"^\./(\.github/workflows/[^@]+)")


def read(files: Mapping[str, str], outer: Mapping[str, str], prefix: str) -> list[Fact]:
    """The facts of all CI files, including relevant ones of the surrounding repository."""
    found: list[Fact] = []
    called = _called(each for name in files if GITHUB.match(name) for each in maps(documents(files[name])))
    up = "/".join([".."] * len(PurePosixPath(prefix).parts))
    # Of the surrounding repository, what is about the project's folder.
    around = ((f"{up}/{name}", name, text, prefix) for name, text in outer.items())
    for shown, name, text, within in (*((name, name, text, "") for name, text in files.items()), *around):
        if reader := _reader(name, text):
            for each in maps(documents(text)):
                found += reader(shown, each, files, called.get(shown, ()), within)
            found += () if within else _commented(name, text)
        elif not within and name.endswith((".yml", ".yaml")) and not name.startswith(".github"):
            found += _orchestrated(name, text)
    return found


Reader = Callable[[str, Map, Mapping[str, str], tuple[str, ...], str], Iterator[Fact]]


def _reader(name: str, text: str) -> Reader | None:
    """The function that reads a CI file: of its name, content, the project's files, the triggers of its
    callers, and, if it is of a surrounding repository, the project's folder.
    """
    if GITHUB.match(name):
        return _github
    return _gitlab if GITLAB.match(name) else _azure if _is_azure(name, text) else None


def _flag(value: Any) -> str:
    return value if isinstance(value, Text) else ""


def _called(workflows: Iterable[Map]) -> dict[str, tuple[str, ...]]:
    """The triggers of reusable workflows: those of their callers."""
    found: dict[str, tuple[str, ...]] = {}
    for each in workflows:
        when = _github_triggers(each)
        for _, _, value in walk(each.get("jobs")):
            if isinstance(value, Text) and (match := LOCAL_CALL.match(value)):
                found[match.group(1)] = (*found.get(match.group(1), ()), *when)
    return found


def _github_triggers(document: Map) -> tuple[str, ...]:
    """What starts a workflow: push, tag, schedule, manual, event."""
    on = document.get("on", document.get("true"))
    names = [str(each) for each in (on if isinstance(on, Map) else texts(on))]
    when: list[str] = []
    for name in names:
        if name in ("push", "pull_request", "pull_request_target", "merge_group"):
            tags = inner(on, name, "tags") is not None
            when += [] if tags and inner(on, name, "branches") is None else ["push"]
            when += ["tag"] if tags else []
        elif name == "release":
            when.append("tag")
        elif name == "schedule":
            when.append("schedule")
        elif name == "workflow_dispatch":
            when.append("manual")
        elif name in EVENTS:
            when.append("event")
    return tuple(dict.fromkeys(when))


def _github(
    name: str, document: Map, files: Mapping[str, str], called: tuple[str, ...], within: str
) -> Iterator[Fact]:
    jobs, when = document.get("jobs"), _github_triggers(document) + called
    if not isinstance(jobs, Map) or not _concerns(document, within):
        return
    for each in when:
        on = document.get("on", document.get("true"))
        yield Fact("trigger", each, name, getattr(on, "line", 1) or 1, "ci", when)
    off = {str(job): _off(content, str(job)) for job, content in jobs.items() if isinstance(content, Map)}
    # A job that depends on one that never runs does not run either, whatever their order: a round for each.
    for job, content in [*jobs.items()] * len(off):
        for needed in texts(content.get("needs")) if isinstance(content, Map) else ():
            if "never runs" in off.get(str(needed), ""):
                always = re.search(r"always\(\)|cancelled\(\)", _flag(content.get("if")))
                off[str(job)] = off[str(job)] or ("" if always else off[str(needed)])
    for job, content in jobs.items():
        if not isinstance(content, Map):
            continue
        why = off[str(job)]
        yield from _environment(content, name, when, why, str(job))
        if isinstance(content.get("uses"), Text):
            yield Fact("step", str(content["uses"]), name, content["uses"].line, "ci", when, why, str(job))
        for step in maps(content.get("steps")):
            yield from _github_step(step, name, when, why, str(job), files)


def _github_step(
    step: Map, file: str, when: tuple[str, ...], off: str, job: str, files: Mapping[str, str], depth: int = 0
) -> Iterator[Fact]:
    why = off or _off(step, "the step")
    if isinstance(uses := step.get("uses"), Text):
        yield Fact("step", str(uses), file, uses.line, "ci", when, why, job)
        if (own := ACTION.match(uses)) and depth == 0:  # an action of the project
            for name in (f".github/actions/{own.group(1)}/action.{end}" for end in ("yml", "yaml")):
                for document in documents(files.get(name, "")):
                    for each in maps(inner(document, "runs", "steps")):
                        yield from _github_step(each, name, when, why, job, files, 1)
    if isinstance(run := step.get("run"), Text):
        yield from _commands(run, file, when, why, job, files)


def _off(content: Map, what: str) -> str:
    """Why a job or step has no effect; empty if it has one."""
    if FALSE.search(_flag(content.get("if"))) or FALSE.search(_flag(content.get("condition"))):
        return f"{what} never runs: its condition is false"
    if _flag(content.get("enabled")).lower() == "false":
        return f"{what} never runs: it is not enabled"
    for key in ("continue-on-error", "continueOnError", "allow_failure"):
        if TRUE.match(_flag(content.get(key))):
            return f"{key}: a failure of {what} is ignored"
    return ""


def _concerns(content: Any, folder: str) -> bool:
    """Whether a part of the surrounding repository's CI names the project's folder; true without a folder."""
    named = re.compile(rf"(?<![\w-]){re.escape(folder)}(?![\w-]|\.\w)")
    values = chain([content], (value for _, _, value in walk(content)))
    return not folder or any(named.search(each) for value in values for each in texts(value))


def _environment(content: Map, file: str, when: tuple[str, ...], off: str, job: str) -> Iterator[Fact]:
    """The environment that a job deploys to."""
    value = inner(content, "environment", "name") or content.get("environment")
    if isinstance(value, Text):
        yield Fact("key", f"environment={value}", file, value.line, "ci", when, off, job)


def _commands(
    script: Text,
    file: str,
    when: tuple[str, ...],
    off: str,
    job: str,
    files: Mapping[str, str],
) -> Iterator[Fact]:
    for line, command, ignored in commands.lines(script, script.first):
        for where, number, part, why in commands.expanded(line, command, off or ignored, file, files):
            yield Fact("run", part, where, number, "ci", when, why, job)


# ---- GitLab


def _gitlab(
    file: str, document: Map, files: Mapping[str, str], _: tuple[str, ...], within: str
) -> Iterator[Fact]:
    parts = [*_included(document, files), (file, document)]
    every = Map()
    for _name, part in parts:
        every.add(part)
    for name, part in parts:
        yield from _gitlab_jobs(name, part, every, files, within)


def _included(document: Map, files: Mapping[str, str], depth: int = 0) -> Iterator[tuple[str, Map]]:
    """The project's files that a GitLab file includes, unless they are read by themselves."""
    include = document.get("include")
    listed = include if isinstance(include, Items) else Items([include])
    for each in listed:
        wanted = str(each.get("local", "") if isinstance(each, Map) else each or "").lstrip("/")
        for name in fnmatch.filter(files, wanted) if depth < MOST_INCLUDES else ():
            for part in maps(documents(files[name])) if not GITLAB.match(name) else ():
                yield from _included(part, files, depth + 1)
                yield name, part


def _gitlab_jobs(
    file: str, document: Map, every: Map, files: Mapping[str, str], within: str
) -> Iterator[Fact]:
    for job, content in document.items():
        if job in KEYS_OF_GITLAB or job.startswith(".") or not isinstance(content, Map):
            continue
        whole = _extended(content, every)
        if not _concerns(whole, within):
            continue
        when, off = _gitlab_when(whole, every, str(job))
        for each in when:
            yield Fact("trigger", each, file, document.lines[job], "ci", when)
        yield from _environment(whole, file, when, off, str(job))
        for key in ("before_script", "script"):
            for script in texts(whole.get(key)):
                yield from _commands(script, file, when, off, str(job), files)


def _extended(content: Map, document: Map, depth: int = 0) -> Map:
    made = Map()
    for name in texts(content.get("extends")):
        base = document.get(name)
        if isinstance(base, Map) and depth < 5:
            made.add(_extended(base, document, depth + 1))
    made.add(content)
    return made


def _gitlab_when(job: Map, document: Map, name: str) -> tuple[tuple[str, ...], str]:
    off = _off(job, f"the job {name}")
    conditions = maps(job.get("rules")) or maps(inner(document, "workflow", "rules"))
    live = [rule for rule in conditions if _flag(rule.get("when")) != "never"]
    if (conditions and not live) or _flag(job.get("when")) == "never":
        return (), off or f"the job {name} never runs"
    says = " ".join([*(_flag(rule.get("if")) for rule in live), *texts(job.get("only"))])
    if isinstance(job.get("only"), Map):
        says += " ".join(str(each) for _, _, value in walk(job["only"]) for each in texts(value))
    when: list[str] = []
    if re.search(r"schedules?\b", says):
        when.append("schedule")
    if re.search(r"CI_COMMIT_TAG|\btags\b", says):
        when.append("tag")
    if re.search(r"merge_request|CI_COMMIT_BRANCH|\bmain\b|\bmaster\b|\bpush\b|branches", says) or not when:
        when.append("push")
    if re.search(r"\b(trigger|pipeline|api)\b", says):
        when.append("event")
    manual = _flag(job.get("when")) == "manual" or (
        live and all(_flag(r.get("when")) == "manual" for r in live)
    )
    return (("manual",) if manual else tuple(when)), off


# ---- Azure DevOps


def _is_azure(name: str, text: str) -> bool:
    if not name.endswith((".yml", ".yaml")) or name.startswith((".github/", ".gitlab")):
        return False
    named = re.search(r"azure[-_]?pipelines?|^\.(azuredevops|azure)/|(^|/)\.?pipelines?/", name)
    return bool(named) and bool(
        re.search(r"^(trigger|pr|schedules|stages|jobs|steps|pool)\s*:", text, re.MULTILINE)
    )


def _azure(
    file: str, document: Map, files: Mapping[str, str], _: tuple[str, ...], within: str
) -> Iterator[Fact]:
    trigger = document.get("trigger")
    if not _concerns(document, within):
        return
    when = [] if (trigger is None and "trigger" not in document) or _flag(trigger) == "none" else ["push"]
    if trigger is None and "schedules" not in document and "resources" not in document:
        when = ["push"]  # without a word, each push starts it
    if inner(trigger, "tags") is not None:
        when.append("tag")
    if document.get("schedules"):
        when.append("schedule")
    if isinstance(document.get("resources"), Map):
        when.append("event")
    started = tuple(when) or ("manual",)
    for each in started:
        yield Fact("trigger", each, file, 1, "ci", started)
    if any(_concerns(document.get(key), within) for key in ("trigger", "pr", "variables")):
        within = ""  # it is about nothing else
    yield from _azure_inside(document, file, started, "", "", files, within)


def _azure_inside(
    value: Any,
    file: str,
    when: tuple[str, ...],
    off: str,
    job: str,
    files: Mapping[str, str],
    within: str,
    depth: int = 0,
) -> Iterator[Fact]:
    if isinstance(value, Items):
        for each in value:
            yield from _azure_inside(each, file, when, off, job, files, within, depth)
    elif isinstance(value, Map) and (_concerns(value, within) or not {"job", "deployment"} & value.keys()):
        name = next(
            (str(value[key]) for key in ("job", "deployment", "stage") if isinstance(value.get(key), Text)),
            job,
        )
        why = off or _off(value, name or "the step")
        yield from _environment(value, file, when, why, name)
        for key in ("script", "bash", "pwsh", "powershell", "inlineScript"):
            if isinstance(script := value.get(key), Text):
                yield from _commands(script, file, when, why, name, files)
        if isinstance(task := value.get("task"), Text):
            yield Fact("step", str(task), file, task.line, "ci", when, why, name)
        for key, part in value.items():
            if key not in ("environment", "variables", "pool", "trigger", "schedules"):
                yield from _azure_inside(part, file, when, why, name, files, within, depth)
        if isinstance(template := value.get("template"), Text) and depth < MOST_INCLUDES:
            path = normpath(
                template if template.startswith("/") else f"{PurePosixPath(file).parent}/{template}"
            )
            for part in documents(files.get(path.lstrip("/"), "")):
                yield from _azure_inside(part, path.lstrip("/"), when, why, name, files, within, depth + 1)


# ---- commented-out configuration


def _commented(file: str, text: str) -> Iterator[Fact]:
    """What reads like a part of a CI file, but is a comment: a schedule, a job, a command."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if COMMENTED.match(line):
            text = re.sub(r"^\s*#\s*(-\s*)?", "", line).strip()
            whole = not any(each.strip() and not each.strip().startswith("#") for each in lines)
            why = "the whole file is commented out" if whole else "it is commented out"
            if re.match(r"cron|schedule|on\s*:", text):
                yield Fact("trigger", "schedule", file, number, "ci", (), why)
            else:
                yield Fact("run", re.sub(r"^\w+\s*:\s*", "", text), file, number, "ci", (), why)


# ---- orchestrators, schedulers and pipelines in YAML


def _orchestrated(file: str, text: str) -> Iterator[Fact]:
    last = file.rsplit("/", 1)[-1]
    if last in ("dvc.yaml", "dvc.yml"):
        for document in documents(text):
            for path, line, value in walk(document):
                if path.endswith(".cmd"):
                    for each in texts(value):
                        yield Fact("run", f"stage: {each}", file, line, "recipe")
        return
    if last.startswith("prefect") or re.search(r"^deployments\s*:", text, re.MULTILINE):
        for document in documents(text):
            for deployment in maps(inner(document, "deployments")):
                yield from _prefect(file, deployment)
        yield from _commented(file, text)
        return
    if "kind:" in text and re.search(
        r"^\s*kind\s*:\s*(CronJob|CronWorkflow|ScheduledWorkflow|Workflow|Job)\b", text, re.MULTILINE
    ):
        for document in maps(documents(text)):
            kind = _flag(document.get("kind"))
            when = ("schedule",) if kind.startswith(("Cron", "Scheduled")) else ()
            suspended = any(
                path.endswith("suspend") and TRUE.match(_flag(value)) for path, _, value in walk(document)
            )
            off = "suspend: it never runs" if suspended else ""
            name = inner(document, "metadata", "name") or kind
            line = document.lines.get("kind", 1)
            yield Fact("run", f"{kind} {name}", file, line, "flow", when, off)
            for path, line, value in walk(document):
                if path.endswith((".command", ".args")) and texts(value):
                    command = " ".join(texts(value)).replace("\n", " ")
                    yield Fact("run", command, file, line, "flow", when, off)
    elif (
        re.search(r"^schedules?\s*:|type:\s*schedule|\$schema:.*schedule", text, re.MULTILINE)
        and "azureml" in text
    ):
        yield Fact("run", f"azureml schedule {last}", file, 1, "flow", ("schedule",))


def _prefect(file: str, deployment: Map) -> Iterator[Fact]:
    entry = deployment.get("entrypoint")
    if not isinstance(entry, Text):
        return
    when = [
        name
        for name, keys in (("schedule", ("schedules", "schedule")), ("event", ("triggers",)))
        if any(deployment.get(key) for key in keys)
    ]
    active = [_flag(each.get("active")).lower() for each in maps(deployment.get("schedules"))]
    off = "its schedules are not active" if active and set(active) == {"false"} else ""
    line = entry.line
    yield Fact("run", f"flow {deployment.get('name', '')} {entry}", file, line, "flow", tuple(when), off)
    for each in texts(Items(v for _, _, v in walk(deployment.get("triggers")))):
        yield Fact("key", f"trigger={each}", file, each.line, "flow", tuple(when))
    if isinstance(pool := inner(deployment, "work_pool", "name"), Text):
        yield Fact("key", f"work_pool={pool}", file, pool.line, "flow", tuple(when))

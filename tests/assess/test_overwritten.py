"""Gates without effect, in Python: found where they are, and not where they are not."""

from pathlib import Path

import pytest

from tests.assess.projects import practice

WITHOUT_EFFECT = {
    "overwritten": "def deploy(m):\n    passed = gate(m)\n    passed = True\n    return passed\n",
    "an item": "def deploy(m):\n    result = run_gate(m)\n    result['passed'] = True\n    return result\n",
    "an attribute": "def deploy(m):\n    result = run_gate(m)\n    result.passed = True\n    return result\n",
    "another result": "def deploy(m):\n    result = gate.judge(m)\n    result = GateResult(True, 'x')\n    return result\n",
    "replace": "def deploy(m):\n    r = gate.judge(m)\n    r = replace(r, passed=True)\n    return r\n",
    "or True": "def deploy(m):\n    passed = gate(m) or True\n    return passed\n",
    "where it refuses": "def deploy(m):\n    ok = gate(m)\n    if not ok:\n        ok = True\n    return ok\n",
    "and False": "def deploy(m):\n    if not gate(m) and False:\n        raise Refused\n",
    "only logged": "def deploy(m):\n    if not gate(m):\n        print('worse')\n    release(m)\n",
    "caught": "def deploy(m):\n    try:\n        gate(m)\n    except Exception:\n        pass\n    release(m)\n",
    "before it checks": "def gate(m):\n    return True\n    return m.error < 3\n",
    "can only pass": "def gate(m):\n    error = measure(m)\n    if error > 3:\n        return True\n    return True\n",
    "listed": "GATES = [small]\n\n\ndef small(m):\n    size = measure(m)\n    return True\n",
    "stored as passed": "def deploy(m):\n    r = gate.judge(m)\n    return {'passed': True, 'says': r.says}\n",
}  # fmt: skip
WITH_EFFECT = {
    "returns": "def gate(m):\n    return m.error < 3\n",
    "both ways": "def gate(m):\n    if m.error > 3:\n        return GateResult(False)\n    return GateResult(True)\n",
    "raises": "def gate(m):\n    if m.error > 3:\n        raise Refused\n    return True\n",
    "raises in what it calls": "def gate(m):\n    \"\"\"Raises Refused where it differs.\"\"\"\n    largest = compare(m)\n    return GateResult(True, largest)\n",
    "a default first": "def deploy(m):\n    passed = True\n    for each in gates:\n        passed = passed and each(m)\n    return passed\n",
    "set after a branch": "def deploy(m):\n    passed = gate(m)\n    if not passed:\n        raise Refused\n    passed = True\n    return passed\n",
    "logged and raised": "def deploy(m):\n    if not gate(m):\n        print('worse')\n        raise Refused\n",
    "logged and returned": "def deploy(m):\n    if not gate(m):\n        print('worse')\n        return\n    release(m)\n",
    "caught and refused": "def deploy(m):\n    try:\n        gate(m)\n    except Exception:\n        return False\n    return True\n",
    "stored as it is": "def deploy(m):\n    r = gate.judge(m)\n    return {'passed': r.passed}\n",
    "something else": "def load(path):\n    ok = path.exists()\n    found = True\n    return found\n",
    "a list of something else": "aggregates = [total]\ngate = 1\n\n\ndef total(m):\n    size = measure(m)\n    return True\n",
    "a parser": "def parse(text):\n    success = read(text)\n    return success or None\n",
}  # fmt: skip
GATE = "def is_no_worse(a, b):\n    return a < b\n"


@pytest.mark.parametrize("code", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_a_gate_without_effect_is_found(tmp_path: Path, code: str) -> None:
    found = practice(tmp_path, {"release.py": code, "gates.py": GATE}, "gates")
    assert [each.fact.file for each in found.off] == ["release.py"]
    assert not found.holds


@pytest.mark.parametrize("code", WITH_EFFECT.values(), ids=WITH_EFFECT)
def test_a_gate_with_effect_is_not_accused(tmp_path: Path, code: str) -> None:
    found = practice(tmp_path, {"release.py": code, "gates.py": GATE}, "gates")
    assert not found.off
    assert found.holds


def test_a_gate_without_effect_is_a_gap_whatever_people_answer(tmp_path: Path) -> None:
    answers = "by: a\non: 2026-01-01\nanswers: {gates: yes}\n"
    files = {"release.py": WITHOUT_EFFECT["overwritten"], "maturity-answers.yaml": answers}
    assert not practice(tmp_path, files, "gates").holds

"""The house rules, held by a program: each is applied to the repository, and shown to fail on a
text that breaks it. The rules themselves are pure functions in tests/house/rules.py; what may break
one stands with its reason in tests/house_exceptions.toml.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.house import rules, suites
from tests.house.build_tools import native_build
from tidelog.protocol.api import ApiKey

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "engine" / "tidelog"
NATIVE = ROOT / "ext" / "tidelog" / "_native"
CODE_FOLDERS = ("engine", "ext", "bench", "tests")
EXCEPTIONS = tomllib.loads((ROOT / "tests" / "house_exceptions.toml").read_text())
# Written by hand and read as part of the project: looked through for words that do not belong.
TEXT_SUFFIXES = {
    ".py", ".pyi", ".pyx", ".pxd", ".h", ".md", ".toml", ".yaml", ".java", ".go", ".js", ".mjs",
    ".xml", ".json", ".sh", ".in",
}  # fmt: skip


def files(folders: Iterable[str], *suffixes: str) -> list[Path]:
    """Files of the given kinds below folders of the repository, sorted; nothing generated."""
    skipped = {"__pycache__", "node_modules", "build", "target"}
    return sorted(
        path
        for folder in folders
        for suffix in suffixes
        for path in (ROOT / folder).rglob(f"*{suffix}")
        if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)
    )


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def listed(problems: Iterable[str]) -> str:
    return "\n".join(["", *problems])


def exceptions(kind: str) -> dict[str, tuple[int, str]]:
    return {
        key: (entry["lines"], entry["reason"]) for key, entry in EXCEPTIONS.get(kind, {}).items()
    }


# --- size -----------------------------------------------------------------------------------------


def test_modules_are_small() -> None:
    sizes = {
        name(path): rules.line_count(path.read_text())
        for path in files(CODE_FOLDERS, ".py", ".pyx")
    }
    assert len(sizes) > 20
    problems = rules.too_long(sizes, rules.MODULE_LINES, exceptions("modules"))
    assert not problems, listed(problems)


def test_functions_are_small() -> None:
    sizes: dict[str, int] = {}
    for path in files(CODE_FOLDERS, ".py", ".pyx"):
        measure = rules.python_functions if path.suffix == ".py" else rules.cython_functions
        sizes |= {f"{name(path)}:{f}": lines for f, lines in measure(path.read_text()).items()}
    assert len(sizes) > 100
    problems = rules.too_long(sizes, rules.FUNCTION_LINES, exceptions("functions"))
    assert not problems, listed(problems)


def test_size_rules_can_fail() -> None:
    sizes = {"a": 10, "b": 11, "c": 5}
    assert rules.too_long(sizes, 10, {}) == ["b: 11 lines, at most 10"]
    assert not rules.too_long(sizes, 10, {"b": (12, "one table")})
    assert rules.too_long(sizes, 10, {"b": (12, "")})
    assert rules.too_long(sizes, 10, {"b": (12, "one table"), "c": (20, "once it was long")})
    assert rules.too_long(sizes, 10, {"b": (12, "one table"), "gone": (20, "deleted")})


def test_functions_are_measured() -> None:
    python = 'class A:\n    def f(self):\n        """One.\n\n        Two."""\n        return 1\n'
    assert rules.python_functions(python) == {"A.f": 2}
    cython = (
        "cdef class A:\n"
        "    cdef int field\n"
        "    cdef int f(self,\n"
        "               int a) except -1:\n"
        '        """One.\n'
        "        Two.\n"
        '        """\n'
        "        if a:\n"
        "\n"
        "            return 1\n"
        "        return 0\n"
        "\n"
        "cdef inline void g() noexcept nogil:\n"
        "    pass\n"
        "cdef extern from 'x.h':\n"
        "    int h(int)\n"
        "cpdef int i():\n"
        "    return 2\n"
    )
    assert rules.cython_functions(cython) == {"A.f": 6, "g": 2, "i": 2}


# --- docstrings and handler headers ---------------------------------------------------------------


def test_modules_say_what_they_are_for() -> None:
    problems = [
        f"{name(path)}: {problem}"
        for path in files(("engine", "bench", "tests"), ".py")
        if (problem := rules.module_docstring_problem(path.read_text()))
    ]
    problems += [
        f"{name(path)}: {problem}"
        for path in files(("ext",), ".pyx", ".pxd")
        if (problem := rules.cython_docstring_problem(path.read_text()))
    ]
    assert not problems, listed(problems)


def test_docstring_rules_can_fail() -> None:
    assert rules.module_docstring_problem("x = 1\n")
    assert rules.module_docstring_problem('"""Log."""\nx = 1\n')
    assert not rules.module_docstring_problem("")
    assert not rules.module_docstring_problem('"""What a log is."""\nx = 1\n')
    assert rules.cython_docstring_problem("# cython: cdivision=True\nfrom libc cimport x\n")
    assert not rules.cython_docstring_problem("# What it is for.\nfrom libc cimport x\n")


def test_handlers_have_their_header() -> None:
    """A module named as an API has its row, and only such a module; its docstring says the same."""
    problems = []
    seen = 0
    for path in files(("engine/tidelog/handlers",), ".py"):
        if path.stem == "__init__":
            continue
        module = importlib.import_module(f"tidelog.handlers.{path.stem}")
        api = getattr(module, "API", None)
        if (api is not None) != (path.stem.upper() in ApiKey.__members__):
            problems.append(
                f"{name(path)}: an API's module is named as its key and has a row `API`"
            )
        elif api is not None:
            seen += 1
            found = rules.handler_header_problems(
                module.__doc__, rules.camel_case(path.stem), api.min_version, api.max_version
            )
            problems += [f"{name(path)}: {problem}" for problem in found]
    assert seen
    assert not problems, listed(problems)


def test_handler_header_rule_can_fail() -> None:
    good = "Metadata (key 3), versions 0-13.\n\nBehaviour:\n- a\n\nVersion notes:\n- b\n"
    assert not rules.handler_header_problems(good, "Metadata", 0, 13)
    for bad in (
        None,
        good.replace("Metadata", "Fetch"),
        good.replace("0-13", "0-12"),
        good.replace("versions 0-13", "all versions"),
        good.replace("Behaviour:", "It does:"),
        good.replace("Version notes:", "Notes:"),
    ):
        assert rules.handler_header_problems(bad, "Metadata", 0, 13), bad
    assert rules.camel_case("INIT_PRODUCER_ID") == "InitProducerId"


# --- tests and documentation mirror the sources ---------------------------------------------------


def test_every_source_module_has_its_tests() -> None:
    unit = ROOT / "tests" / "unit"
    tests = {path.relative_to(unit).with_suffix("").as_posix() for path in unit.rglob("test_*.py")}
    modules = [
        path.relative_to(PACKAGE).with_suffix("").as_posix()
        for path in files(("engine/tidelog",), ".py")
        if path.stem not in ("__init__", "__main__")
    ]
    modules += [f"native/{path.stem}" for path in NATIVE.glob("*.pyx")]
    assert len(modules) > 20
    problems = rules.missing_tests(sorted(modules), tests, EXCEPTIONS["without_test_module"])
    assert not problems, listed(problems)


def test_missing_tests_rule_can_fail() -> None:
    tests = {"storage/test_log", "test_types"}
    assert not rules.missing_tests(["storage/log", "types"], tests, {})
    assert rules.missing_tests(["storage/log", "storage/roll"], tests, {})
    assert not rules.missing_tests(["storage/log", "storage/roll"], tests, {"storage/": "why"})
    assert rules.missing_tests(["storage/roll"], tests, {"storage/": ""})
    assert rules.missing_tests(["storage/log"], tests, {"storage/log": "has tests by now"})


def test_every_folder_is_named_in_the_architecture() -> None:
    folders = {
        path.parent.relative_to(PACKAGE).as_posix() for path in files(("engine/tidelog",), ".py")
    } - {"."}
    text = (ROOT / "docs" / "architecture.md").read_text()
    problems = rules.unnamed_folders(sorted(folders), text)
    assert not problems, listed(problems)


def test_folder_rule_can_fail() -> None:
    assert rules.unnamed_folders(["net", "record"], "| `net/` | sockets |") == ["record"]


# --- words ----------------------------------------------------------------------------------------


def test_no_words_that_do_not_belong() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    paths = [ROOT / path for path in tracked if Path(path).suffix in TEXT_SUFFIXES]
    if not paths:  # an unpacked source archive has no git
        paths = files((*CODE_FOLDERS, "docs"), *TEXT_SUFFIXES)
    problems = [
        f"{name(path)} {problem}"
        for path in paths
        if path.is_file()
        for problem in rules.forbidden_words(path.read_text())
    ]
    assert len(paths) > 20
    assert not problems, listed(problems)


def test_word_rules_can_fail() -> None:
    for text in ("# TO" + "DO: later", "see /ho" + "me/me/x", "https://py" + "pi.org/simple"):
        assert rules.forbidden_words(text), text
    for text in ("a todo list", "GET /homepage", "engine/work/x", "https://example.org/root/x"):
        assert not rules.forbidden_words(text), text


def test_tests_do_not_sleep() -> None:
    problems = [
        f"{name(path)} {problem}"
        for path in files(("tests",), ".py")
        if path != Path(__file__)
        for problem in rules.fixed_sleeps(path.read_text())
    ]
    assert not problems, listed(problems)


def test_sleep_rule_can_fail() -> None:
    assert rules.fixed_sleeps("    await asyncio.sleep(1)\n")
    assert rules.fixed_sleeps("time.sleep(0.5)\n")
    assert not rules.fixed_sleeps("time.sleep(0.01)\nawait asyncio.sleep(0)\ntime.sleep(pause_s)\n")
    assert not rules.fixed_sleeps("time.sleep(600)  # hangs\n")


def test_the_engine_does_not_embed_itself() -> None:
    """import-linter cannot tell such an import from one of a compiled module."""
    problems = [
        f"{name(path)} {problem}"
        for path in files(("engine/tidelog",), ".py")
        if path != PACKAGE / "__init__.py"
        for problem in rules.embedding_imports(path.read_text())
    ]
    assert not problems, listed(problems)


def test_embedding_rule_can_fail() -> None:
    assert rules.embedding_imports("import tidelog\n")
    assert rules.embedding_imports("from tidelog import Broker\n")
    assert not rules.embedding_imports("from tidelog import limits\nimport tidelog.types\n")
    assert not rules.embedding_imports("from tidelog.embed import Broker\n")


# --- native modules -------------------------------------------------------------------------------


def native_layers() -> dict[str, Any]:
    return tomllib.loads((ROOT / "tests" / "house" / "native_layers.toml").read_text())


def test_native_modules_cimport_downwards() -> None:
    cimports: dict[str, set[str]] = {}
    for path in files(("ext",), ".pyx", ".pxd"):
        cimports.setdefault(path.stem, set()).update(native_build.native_cimports(path.read_text()))
    assert cimports
    problems = rules.native_layer_problems(native_layers()["layers"], cimports)
    assert not problems, listed(problems)


def test_python_modules_import_native_ones_of_their_layer() -> None:
    table = native_layers()
    rank = {module: n for n, modules in enumerate(table["layers"].values()) for module in modules}
    height = {layer: n for n, layer in enumerate(table["layers"])}
    problems = []
    for path in files(("engine/tidelog",), ".py"):
        first, *below = path.relative_to(PACKAGE).with_suffix("").parts
        folder = first if below or first in table["python"] else ""
        if folder not in table["python"]:
            problems.append(f"{name(path)}: its folder has no row in native_layers.toml")
            continue
        problems += [
            f"{name(path)}: imports the native {module} of a higher layer"
            for module in re.findall(r"tidelog\._native(?:\.| import )(\w+)", path.read_text())
            if rank.get(module, 0) > height[table["python"][folder]]
        ]
    assert not problems, listed(problems)


def test_native_layer_rule_can_fail() -> None:
    layers = {"base": ["wire"], "net": ["lane"], "apart": ["load"]}
    good = {"wire": set(), "lane": {"wire"}, "load": set()}
    assert not rules.native_layer_problems(layers, good)
    assert not rules.native_layer_problems(layers, good | {"load": {"wire"}})
    for bad in (
        good | {"wire": {"lane"}},
        good | {"load": {"lane"}},
        good | {"lane": {"load"}},
        good | {"new": set()},
        {"wire": set(), "lane": set()},
    ):
        assert rules.native_layer_problems(layers, bad), bad
    assert rules.native_layer_problems(layers | {"record": ["wire"]}, good)


def test_cimports_are_read() -> None:
    source = (
        "from libc.stdint cimport int64_t\n"
        "from tidelog._native.wire cimport a, b  # why\n"
        "from tidelog._native cimport index, log as l\n"
        "from .batch cimport (\n    c,\n    d,\n)\n"
        "    from . cimport segment\n"
        "cimport tidelog._native.codec, cython\n"
        "# from tidelog._native.no cimport x\n"
    )
    wanted = {"wire", "index", "log", "batch", "segment", "codec"}
    assert native_build.native_cimports(source) == wanted


def test_native_modules_have_contract_and_stub() -> None:
    problems = []
    for path in NATIVE.glob("*.pyx"):
        if not path.with_suffix(".pxd").exists():
            problems.append(f"{name(path)}: no .pxd beside it")
        if not (PACKAGE / "_native" / f"{path.stem}.pyi").exists():
            problems.append(f"{name(path)}: no .pyi in engine/tidelog/_native")
    stubs = {path.stem for path in (PACKAGE / "_native").glob("*.pyi")}
    problems += [
        f"{s}.pyi: no source" for s in stubs - {path.stem for path in NATIVE.glob("*.pyx")}
    ]
    for path in files(("ext",), ".pyx", ".pxd"):
        problems += [f"{name(path)} {p}" for p in rules.unwanted_cython(path.read_text())]
    assert not problems, listed(sorted(problems))


def test_cython_rule_can_fail() -> None:
    assert rules.unwanted_cython('include "other.pyx"\n')
    assert rules.unwanted_cython("DEF SIZE = 4\n")
    assert not rules.unwanted_cython('cdef extern from "wire.h":\n    pass\n')


# --- processes ------------------------------------------------------------------------------------

_CLIENT_LIBRARIES = (
    "aiokafka", "click", "confluent_kafka", "kafka", "kazoo", "kio", "rich", "typer",
)  # fmt: skip


def imported_by(*modules: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after importing modules."""
    code = f"import sys, {', '.join(modules)}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_broker_processes_import_no_client_library() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in files(("engine/tidelog/process",), ".py")
        if path.stem not in ("__init__", "__main__")
    ]
    assert {"tidelog.process.worker", "tidelog.process.supervisor"} <= set(modules)
    assert not imported_by(*modules) & set(_CLIENT_LIBRARIES)


def test_client_library_rule_can_fail() -> None:
    assert imported_by("typer") & set(_CLIENT_LIBRARIES)


# --- budgets, decisions, readme -------------------------------------------------------------------


def test_budgets_fit_and_every_suite_runs() -> None:
    table = tomllib.loads((ROOT / "tests" / "budgets.toml").read_text())
    with_tests = {
        name(path.parent if path.parent != ROOT / "tests" else path)
        for path in files(("tests",), ".py")
        if path.name.startswith("test_")
    }
    folders = {
        path if path.endswith(".py") else "/".join(path.split("/")[:2]) for path in with_tests
    }
    problems = rules.budget_problems(table, sorted(folders))
    assert suites.load_suites(table)
    assert not problems, listed(problems)


def test_budget_rule_can_fail() -> None:
    suite = {"name": "unit", "target": "test", "paths": ["tests/unit"], "budget_s": 5}
    good = {
        "targets": {"test": {"total_s": 5}},
        "suite": [suite],
        "seeds": {"total_s": 3, "share_s": {"groups": 3}},
    }
    assert not rules.budget_problems(good, ["tests/unit"])
    assert rules.budget_problems(good, ["tests/unit", "tests/sim"])
    assert rules.budget_problems(good | {"targets": {"test": {"total_s": 4}}}, ["tests/unit"])
    assert rules.budget_problems(good | {"suite": [suite, suite]}, ["tests/unit"])
    assert rules.budget_problems(
        good | {"seeds": {"total_s": 3, "share_s": {"a": 4}}}, ["tests/unit"]
    )


@pytest.mark.parametrize(
    ("status", "result", "empty_because", "problem", "failed"),
    [
        (0, (3, 0, 1), "", "", 0),
        (1, (3, 2, 0), "", "2 failed", 2),
        (5, (0, 0, 0), "", "no tests were found", 1),
        (5, (0, 0, 0), "comes later", "", 0),
        (0, (0, 0, 0), "", "no tests were found", 1),
        (3, (0, 0, 0), "comes later", "pytest ended with status 3", 1),
        (None, (3, 0, 0), "", "stopped after 100 s; it should take 9 s at most", 1),
    ],
)
def test_an_empty_or_stopped_suite_has_not_passed(
    status: int | None, result: tuple[int, int, int], empty_because: str, problem: str, failed: int
) -> None:
    suite = suites.Suite("unit", "test", ("tests/unit",), 9, empty_because=empty_because)
    outcome = suites.judge(suite, status, result, 1.0, 100.0)
    assert (outcome.problem, outcome.failed) == (problem, failed)
    assert suites.summary([outcome])[-1].startswith(f"total: {result[0]} passed, {failed} failed")


def test_decisions_are_complete() -> None:
    folder = ROOT / "docs" / "adr"
    decisions = {path.name: path.read_text() for path in sorted(folder.glob("[0-9]*.md"))}
    assert len(decisions) >= 10
    problems = rules.decision_problems(decisions, (folder / "README.md").read_text())
    assert not problems, listed(problems)


def test_decision_rule_can_fail() -> None:
    text = "# 0001. A thing\n\nStatus: accepted\n\n## Context\n\n## Decision\n\n## Consequences\n"
    index = "[a thing](0001-a.md)"
    assert not rules.decision_problems({"0001-a.md": text}, index)
    for bad in (
        text.replace("# 0001. ", "# "),
        text.replace("Status: accepted", ""),
        text.replace("## Consequences\n", ""),
    ):
        assert rules.decision_problems({"0001-a.md": bad}, index), bad
    assert rules.decision_problems({"0001-a.md": text}, "")
    assert rules.decision_problems({"0001-a.md": text, "0001-b.md": text}, index + "](0001-b.md)")


def test_readme_opens_with_the_two_commands() -> None:
    assert not rules.readme_problems((ROOT / "README.md").read_text(), ["make run", "make test"])


def test_readme_rule_can_fail() -> None:
    commands = ["make run", "make test"]
    assert not rules.readme_problems(
        "# T\n\n```sh\nmake run   # a\nmake test  # b\n```\n", commands
    )
    assert rules.readme_problems("# T\n\n```sh\nmake run\n```\n", commands)
    assert rules.readme_problems("# T\n\n## Why\n\n```sh\nmake run\nmake test\n```\n", commands)
    assert rules.readme_problems("# T\n", commands)

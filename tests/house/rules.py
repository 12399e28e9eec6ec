"""The house rules as pure functions: text and names in, problems out (an empty list is good).

tests/test_house.py applies them to the repository and shows of each that it can fail. Nothing here
reads a file; limits are arguments or named constants.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

MODULE_LINES = 600
FUNCTION_LINES = 70


# --- size -----------------------------------------------------------------------------------------


def line_count(text: str) -> int:
    """Lines of a module."""
    return len(text.splitlines())


def python_functions(text: str) -> dict[str, int]:
    """Qualified name -> lines of every function of a Python module, its docstring not counted."""
    found: dict[str, int] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (child.end_lineno or child.lineno) - child.lineno + 1
                first = child.body[0]
                if ast.get_docstring(child, clean=False) is not None:
                    lines -= (first.end_lineno or first.lineno) - first.lineno + 1
                found[f"{prefix}{child.name}"] = lines
                visit(child, f"{prefix}{child.name}.")
            else:
                visit(child, prefix)

    visit(ast.parse(text), "")
    return found


_CYTHON_BLOCK = re.compile(
    r"^(?P<indent>[ ]*)(?P<kind>class|cdef\s+class|cdef|cpdef|def|async\s+def)\b(?P<rest>.*)"
)
_CYTHON_NAME = re.compile(r"(\w+)\s*\(")


def cython_functions(text: str) -> dict[str, int]:
    """Qualified name -> lines of every function of a .pyx, its docstring not counted.

    Told by indentation: a function is a def, cdef or cpdef line that opens a block, up to the last
    line that is indented deeper. A declaration over several lines is one.
    """
    lines = text.splitlines()
    found: dict[str, int] = {}
    owners: list[tuple[int, str]] = []
    for number, line in enumerate(lines):
        match = _CYTHON_BLOCK.match(line)
        if match is None:
            continue
        indent = len(match["indent"])
        owners = [(depth, name) for depth, name in owners if depth < indent]
        prefix = "".join(f"{name}." for _, name in owners)
        if match["kind"].endswith("class"):
            if name_match := re.match(r"\s+(\w+)", match["rest"]):
                owners.append((indent, name_match[1]))
            continue
        head_end = _declaration_end(lines, number)
        name = _CYTHON_NAME.search(match["rest"])
        if head_end is None or name is None:
            continue
        end = _block_end(lines, head_end, indent)
        found[prefix + name[1]] = end - number + 1 - _docstring_lines(lines, head_end + 1)
        owners.append((indent, name[1]))
    return found


def _declaration_end(lines: list[str], start: int) -> int | None:
    """Line on which the declaration begun at `start` ends with a colon; None if it does not."""
    depth = 0
    for number in range(start, min(start + 40, len(lines))):
        code = re.sub(r"'[^']*'|\"[^\"]*\"", "''", lines[number]).split("#")[0].rstrip()
        depth += sum(code.count(c) for c in "([{") - sum(code.count(c) for c in ")]}")
        if depth <= 0 and not code.endswith("\\"):
            return number if code.endswith(":") else None
    return None


def _block_end(lines: list[str], head_end: int, indent: int) -> int:
    """Last line of the block below `head_end` whose lines are indented deeper than `indent`."""
    end = head_end
    for number in range(head_end + 1, len(lines)):
        line = lines[number]
        if not line.strip():
            continue
        if len(line) - len(line.lstrip()) <= indent:
            break
        end = number
    return end


def _docstring_lines(lines: list[str], start: int) -> int:
    """Lines of the docstring that begins at `start`, 0 if there is none."""
    if start >= len(lines):
        return 0
    first = lines[start].strip()
    quote = next((q for q in ('"""', "'''") if first.startswith(q)), None)
    if quote is None:
        return 0
    if len(first) > 3 and first.endswith(quote):
        return 1
    for number in range(start + 1, len(lines)):
        if quote in lines[number]:
            return number - start + 1
    return 0


def too_long(
    sizes: Mapping[str, int], limit: int, exceptions: Mapping[str, tuple[int, str]]
) -> list[str]:
    """What is longer than its limit. `exceptions`: name -> (own limit, reason); a needless one is a
    problem too, so that the list only holds what is true."""
    problems = []
    for name, size in sizes.items():
        own_limit = exceptions.get(name, (limit, ""))[0]
        if size > own_limit:
            problems.append(f"{name}: {size} lines, at most {own_limit}")
    for name, (own_limit, reason) in exceptions.items():
        if name not in sizes:
            problems.append(f"{name}: has an exception but does not exist")
        elif sizes[name] <= limit:
            problems.append(f"{name}: needs no exception any more ({sizes[name]} lines)")
        if own_limit <= limit or not reason.strip():
            problems.append(f"{name}: an exception needs a limit above {limit} and a reason")
    return problems


# --- docstrings and handler headers ---------------------------------------------------------------


def module_docstring_problem(text: str) -> str | None:
    """A module that contains anything says what it is for."""
    tree = ast.parse(text)
    if not tree.body:
        return None
    docstring = ast.get_docstring(tree)
    return None if docstring and len(docstring.split()) >= 3 else "has no module docstring"


def cython_docstring_problem(text: str) -> str | None:
    """The same for a .pyx or .pxd: a docstring, or comment lines, before the first statement."""
    code = [line for line in text.splitlines() if line.strip()]
    while code and code[0].startswith(("# cython:", "# distutils:")):
        code.pop(0)
    if not code or code[0].startswith(("#", '"""', "'''")):
        return None
    return "does not begin with what it is for"


_VERSIONS = re.compile(r"versions?\s+(\d+)(?:\s*[-–]\s*(\d+))?", re.IGNORECASE)


def handler_header_problems(docstring: str | None, api: str, low: int, high: int) -> list[str]:
    """An API's handler opens with its name and versions, and lists behaviour and version notes.

    `api` in CamelCase; `low`-`high` are the versions that it answers.
    """
    if not docstring:
        return ["has no docstring"]
    first, _, rest = docstring.partition("\n")
    problems = []
    if not re.match(rf"{api}\b", first):
        problems.append(f"its first line does not begin with {api}")
    match = _VERSIONS.search(first)
    if match is None:
        problems.append("its first line names no versions")
    elif (int(match[1]), int(match[2] or match[1])) != (low, high):
        problems.append(f"its first line says {match[0]}, it answers {low}-{high}")
    for section in ("Behaviour:", "Version notes:"):
        if not re.search(rf"^\s*{section}", rest, re.MULTILINE):
            problems.append(f"has no section '{section}'")
    return problems


def camel_case(name: str) -> str:
    """INIT_PRODUCER_ID or init_producer_id -> InitProducerId."""
    return "".join(part.capitalize() for part in name.lower().split("_"))


# --- tests and documentation mirror the sources ---------------------------------------------------


def missing_tests(
    modules: Iterable[str], tests: Collection[str], exceptions: Mapping[str, str]
) -> list[str]:
    """Source modules without a test module of their own.

    `modules` and `tests` are paths without suffix, relative to the package and to tests/unit:
    `storage/log` wants `storage/test_log`. An exception (path, or folder with a final slash) that
    covers no untested module is a problem, too.
    """
    problems = []
    used: set[str] = set()
    for module in modules:
        folder, _, name = module.rpartition("/")
        if f"{folder}/test_{name}".lstrip("/") in tests:
            continue
        cover = [e for e in exceptions if e == module or (e.endswith("/") and module.startswith(e))]
        used.update(cover)
        if not cover:
            problems.append(f"{module}: no test module")
    problems += [
        f"{e}: excepted but everything there has its tests" for e in exceptions if e not in used
    ]
    problems += [
        f"{e}: an exception needs a reason" for e, reason in exceptions.items() if not reason
    ]
    return problems


def unnamed_folders(folders: Iterable[str], text: str) -> list[str]:
    """Folders (`protocol/messages`) that a document never names as code with a final slash."""
    return [folder for folder in folders if f"{folder}/`" not in text]


# --- words that do not belong in the repository ---------------------------------------------------

_LEFTOVER = re.compile(
    r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b"
)
_MACHINE_PATH = re.compile(
    r"(?<![\w.~/-])/(?:" + "|".join(("work", "root", "home", "farm")) + r")/\w"
)
_REGISTRY = re.compile(
    "|".join(
        ("pypi" + r"\.org", r"registry\.npm" + "js", r"repo1?\.ma" + "ven", r"proxy\.go" + "lang")
    )
)
_FIXED_SLEEP = re.compile(r"\b(?:time|asyncio)\.sleep\(\s*(\d+(?:\.\d*)?|\.\d+)")
# What polls for an event may rest this long between two looks.
POLL_S = 0.1
# Nobody waits so long (a test is stopped before): it stands for something that hangs.
FOREVER_S = 60


def forbidden_words(text: str) -> list[str]:
    """Lines with a leftover mark, a path of somebody's machine or a package registry's host."""
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in (
            ("unfinished work", _LEFTOVER),
            ("a path of a machine", _MACHINE_PATH),
            ("a registry's host", _REGISTRY),
        ):
            if match := pattern.search(line):
                problems.append(f"line {number}: {what}: {match[0]}")
    return problems


def fixed_sleeps(text: str) -> list[str]:
    """Lines of a test that sleep for a fixed time instead of waiting for an event."""
    return [
        f"line {number}: {match[0]})"
        for number, line in enumerate(text.splitlines(), 1)
        if (match := _FIXED_SLEEP.search(line)) and POLL_S < float(match[1]) < FOREVER_S
    ]


def embedding_imports(text: str) -> list[str]:
    """Lines that import what only `tidelog` itself exports: the interface for other programs."""
    return [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(r"\s*(from tidelog import .*\b(Broker\w*|log)\b|import tidelog\s*(#|$))", line)
    ]


# --- native modules -------------------------------------------------------------------------------


def native_layer_problems(
    layers: Mapping[str, Collection[str]], cimports: Mapping[str, Collection[str]]
) -> list[str]:
    """Cimports that point upwards, and modules that stand in no layer or in two.

    layers: name -> modules, lowest first; `apart` may cimport the lowest, and nothing cimports it.
    cimports: native module -> native modules that its .pyx and .pxd cimport.
    """
    problems = []
    rank: dict[str, int] = {}
    for number, (layer, modules) in enumerate(layers.items()):
        for module in modules:
            if module in rank:
                problems.append(f"{module}: stands in two layers")
            if module not in cimports:
                problems.append(f"{module}: stands in layer {layer} but does not exist")
            rank[module] = number
    apart = set(layers.get("apart", ()))
    for module, others in cimports.items():
        if module not in rank:
            problems.append(f"{module}: stands in no layer")
            continue
        for other in sorted(set(others) - {module}):
            if other not in rank:
                continue  # reported above, or the compiler says that it is missing
            if other in apart or (module in apart and rank[other]):
                problems.append(f"{module}: cimports {other} across the line to what stands apart")
            elif rank[other] > rank[module]:
                problems.append(f"{module}: cimports {other} of a higher layer")
    return problems


_UNWANTED_CYTHON = (
    (re.compile(r'^\s*include\s+["\']'), "include of another source"),
    (re.compile(r"^\s*DEF\s+\w+"), "DEF (use cdef enum)"),
)


def unwanted_cython(text: str) -> list[str]:
    """Constructions of Cython that make one big unit of several files, or are deprecated."""
    return [
        f"line {number}: {what}"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, what in _UNWANTED_CYTHON
        if pattern.search(line)
    ]


# --- budgets, decisions, readme -------------------------------------------------------------------


def budget_problems(table: Mapping[str, Any], folders_with_tests: Collection[str]) -> list[str]:
    """Budgets over their target's total, suites twice, folders with tests that no suite runs."""
    problems = []
    suites = table["suite"]
    for suite in suites:
        total_s = table["targets"][suite["target"]]["total_s"]
        if suite["budget_s"] > total_s:
            problems.append(f"{suite['name']}: over the {total_s} s of make {suite['target']}")
    names = [(suite["target"], suite["name"]) for suite in suites]
    problems += [
        f"{target}/{name}: twice" for target, name in {n for n in names if names.count(n) > 1}
    ]
    covered = [path for suite in suites for path in suite["paths"]]
    problems += [
        f"{folder}: no suite runs it" for folder in folders_with_tests if folder not in covered
    ]
    seeds = table["seeds"]
    shared = sum(seeds["share_s"].values())
    if shared > seeds["total_s"]:
        problems.append(f"seeds: shares of {shared} s, together they have {seeds['total_s']} s")
    return problems


DECISION_SECTIONS = ("Context", "Decision", "Consequences")


def decision_problems(decisions: Mapping[str, str], index: str) -> list[str]:
    """Decision records (file name -> text) that lack a part, or are not in the index."""
    problems = []
    for name, text in decisions.items():
        if f"]({name})" not in index:
            problems.append(f"{name}: not in the index")
        if not re.match(r"# \d{4}\. \S", text):
            problems.append(f"{name}: does not open with '# NNNN. Title'")
        if not re.search(r"^Status: (accepted|changed by|replaced by)", text, re.MULTILINE):
            problems.append(f"{name}: has no status")
        problems += [
            f"{name}: no section '{s}'" for s in DECISION_SECTIONS if f"\n## {s}\n" not in text
        ]
    numbers = [name[:4] for name in decisions]
    problems += [f"{number}: used twice" for number in {n for n in numbers if numbers.count(n) > 1}]
    return problems


def readme_problems(text: str, commands: Collection[str]) -> list[str]:
    """The readme's first code block holds exactly the commands, before any second heading."""
    match = re.search(r"```\w*\n(.*?)```|((?:^    .*\n)+)", text, re.DOTALL | re.MULTILINE)
    if match is None:
        return ["has no code block"]
    block = match[1] or match[2]
    found = [line.split("#")[0].strip() for line in block.splitlines() if line.strip()]
    problems = [] if found == list(commands) else [f"opens with {found}, not with {list(commands)}"]
    if "\n## " in text[: match.start()]:
        problems.append("a section stands before the commands")
    return problems

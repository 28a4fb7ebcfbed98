"""The layer diagram as a test: which unit may import which, where third-party packages live, how long code may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: The diagram: unit → units it may import. Arrows only go down; a unit may always import itself.
ALLOWED = {
    "schemas": set(),
    "pipeline.compiled": set(),
    "pipeline.corpus": {"schemas"},
    "pipeline.stats": {"pipeline.compiled", "schemas"},
    "pipeline.extract": {"pipeline.compiled", "schemas"},
    "pipeline.exchange": {"pipeline.corpus", "schemas"},
    "pipeline.search": {"pipeline.compiled", "pipeline.stats", "schemas"},
    "pipeline.store": {"pipeline.compiled", "pipeline.corpus", "schemas"},
    "pipeline.correlate": {"pipeline.compiled", "pipeline.stats", "schemas"},
    "pipeline.report": {"pipeline.search", "pipeline.stats", "schemas"},
    "pipeline.run": {
        "pipeline.corpus",
        "pipeline.correlate",
        "pipeline.exchange",
        "pipeline.extract",
        "pipeline.search",
        "pipeline.stats",
        "pipeline.store",
        "schemas",
    },
    "jobs": {"pipeline.corpus", "pipeline.extract", "pipeline.report", "pipeline.run", "pipeline.store", "schemas"},
    "deploy": {"schemas"},
    "docs": {"jobs", "schemas"},
}

#: Third-party packages with one home: package → units (folders) or files that may import it.
HOMES = {
    "torch": ("pipeline/extract", "pipeline/search/device_sweep.py", "pipeline/stats/device_products.py"),
    "transformers": ("pipeline/extract",),
    "safetensors": ("pipeline/extract",),
    "ray": ("pipeline/run/ray_executor.py",),
    "duckdb": ("pipeline/store", "schemas"),
    "pyarrow": (
        "pipeline/store",
        "schemas",
        "pipeline/corpus/parquet.py",
        "pipeline/exchange/label_table.py",
        "pipeline/exchange/arrow_file.py",
    ),
    "h5py": ("pipeline/exchange/neurox.py",),
    "umap": ("pipeline/correlate/neuron_map.py",),
    "spacy": ("pipeline/corpus/annotate.py",),
    "plotly": ("pipeline/report",),
    "jinja2": ("pipeline/report",),
    "numba": ("pipeline/compiled.py", "pipeline/search/sweep_kernel.py"),
    "click": ("jobs", "docs/generate.py"),
}

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "core", "base"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

FOLDERS = ("schemas", "pipeline", "jobs", "deploy", "docs")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))


def unit_of(module: str) -> str | None:
    """`pipeline.store.paths` → `pipeline.store`; None for a package that is not ours."""
    parts = module.split(".")
    name = ".".join(parts[:2]) if parts[0] == "pipeline" else parts[0]
    return name if name in ALLOWED else None


def imported_modules(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere in a file, inside functions and type-checking blocks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; name the whole module"
            assert node.module is not None
            if node.module == "pipeline":
                yield from ((f"pipeline.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant):
                yield str(argument.value), node.lineno


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_python_package_is_in_the_diagram():
    units = {unit_of(module_name(file)) for file in FILES if module_name(file) != "pipeline"}
    assert units == set(ALLOWED), "a new unit needs a line in ALLOWED, and in the design"


def imports_only_go_down(file: Path) -> Iterator[str]:
    unit = unit_of(module_name(file))
    for module, line in imported_modules(parse(file)):
        other = unit_of(module)
        if other is not None and other != unit and other not in ALLOWED.get(unit or "", set()):
            yield f"line {line}: {unit} may not import {module}"


def third_party_packages_stay_in_their_homes(file: Path) -> Iterator[str]:
    path = file.relative_to(ROOT).as_posix()
    for module, line in imported_modules(parse(file)):
        homes = HOMES.get(module.split(".")[0])
        if homes is not None and not any(path == home or path.startswith(f"{home}/") for home in homes):
            yield f"line {line}: {module} belongs to {', '.join(homes)}"


def only_jobs_print(file: Path) -> Iterator[str]:
    if not file.is_relative_to(ROOT / "jobs"):
        for node in ast.walk(parse(file)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "pprint"):
                yield f"line {node.lineno}: print; only jobs/ prints"


def files_and_functions_are_short(file: Path) -> Iterator[str]:
    n_lines = len(file.read_text(encoding="utf-8").splitlines())
    if n_lines > MAX_FILE_LINES:
        yield f"{n_lines} lines, {MAX_FILE_LINES} at most; one concept per file"
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n_body = body_lines(node)
            if n_body > MAX_FUNCTION_LINES:
                yield f"line {node.lineno}: {node.name} has {n_body} lines, {MAX_FUNCTION_LINES} at most"


def names_say_the_concept(file: Path) -> Iterator[str]:
    if file.stem in BANNED_NAMES or file.stem.startswith("base_"):
        yield "name the file by its concept"


def modules_say_what_they_are_for(file: Path) -> Iterator[str]:
    if module_name(file) != "pipeline" and not ast.get_docstring(parse(file)):
        yield "a module opens with what it is for"


def broad_excepts_carry_their_reason(file: Path) -> Iterator[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.ExceptHandler):
            caught = "everything" if node.type is None else ast.unparse(node.type)
            raises_again = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in node.body)
            explained = raises_again or "noqa: BLE001 - " in lines[node.lineno - 1]
            if caught in ("everything", "Exception", "BaseException") and not explained:
                yield f"line {node.lineno}: catches {caught} without a reason beside it"


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


RULES = (
    imports_only_go_down,
    third_party_packages_stay_in_their_homes,
    only_jobs_print,
    files_and_functions_are_short,
    names_say_the_concept,
    modules_say_what_they_are_for,
    broad_excepts_carry_their_reason,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule):
    problems = [f"{file.relative_to(ROOT)}: {problem}" for file in FILES for problem in rule(file)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("pipeline/stats/x.py", "from pipeline.store.paths import CURRENT_FILE", imports_only_go_down),
        ("schemas/x.py", "def f():\n    import pipeline.run", imports_only_go_down),
        ("pipeline/run/x.py", "import ray", third_party_packages_stay_in_their_homes),
        ("pipeline/corpus/x.py", "from pyarrow import parquet", third_party_packages_stay_in_their_homes),
        ("pipeline/run/x.py", "print(1)", only_jobs_print),
        ("pipeline/run/x.py", "def f():\n" + "    a = 1\n" * 61, files_and_functions_are_short),
        ("pipeline/run/x.py", "a = 1\n" * 401, files_and_functions_are_short),
        ("pipeline/run/utils.py", "", names_say_the_concept),
        ("pipeline/run/x.py", "a = 1", modules_say_what_they_are_for),
        ("pipeline/run/x.py", "try:\n    a = 1\nexcept Exception:\n    a = 2", broad_excepts_carry_their_reason),
    ],
)
def test_the_rules_catch_what_they_forbid(path, source, rule, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(source, encoding="utf-8")
    assert list(rule(file))


def test_the_diagram_has_no_cycles():
    waiting = {unit: set(allowed) for unit, allowed in ALLOWED.items()}
    while waiting:
        free = [unit for unit, needs in waiting.items() if not needs & set(waiting)]
        assert free, f"a cycle among {sorted(waiting)}"
        for unit in free:
            del waiting[unit]


def test_modules_have_no_import_cycles():
    known = {module_name(file): file for file in FILES}
    graph = {name: set(_module_level_imports(file, known)) - {name} for name, file in known.items()}
    while graph:
        free = [name for name, needs in graph.items() if not needs & set(graph)]
        assert free, f"an import cycle among {sorted(graph)}"
        for name in free:
            del graph[name]


def _module_level_imports(file: Path, known: dict[str, Path]) -> Iterator[str]:
    for node in parse(file).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def test_every_view_of_the_store_is_in_a_sql_file_with_a_header():
    files = sorted((ROOT / "schemas" / "sql").glob("*.sql"))
    assert files
    for file in files:
        header = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("--")]
        text = "\n".join(header)
        assert header[0].startswith(f"-- {file.stem}: "), f"{file.name}: the header opens with the view's name"
        for part in ("-- inputs:", "-- output columns:", "-- example row:"):
            assert part in text, f"{file.name}: no {part!r} in the header"

"""Imports run one way: no circle among a package's modules, no package reaches up to one above it."""

import ast
from pathlib import Path

import pytest
from launching import PROJECT

# Each may import those before it, and none after it.
ORDER = ("motionmatcher", "evaluation", "testbed", "experiments", "benchmarks")
# Of the packages, what evaluation must do without: it scores videos whoever made them.
NOT_IN_EVALUATION = ("motionmatcher.training", "motionmatcher.objectives")
# What reads and writes video files: a machine that only measures a GPU has none of it.
VIDEO_FILES = {"av", "decord", "imageio_ffmpeg"}


def module_files() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    files = {}
    for package in ORDER:
        for file in (PROJECT / package).rglob("*.py"):
            parts = file.relative_to(PROJECT).with_suffix("").parts
            files[".".join(parts).removesuffix(".__init__")] = file
    return files


def imported_names(source: str) -> set[str]:
    """Everything that a module names in its imports, those within functions and for types included."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(source: str, known: set[str]) -> set[str]:
    """Those of some modules that a source imports: a module's own name, or of what it holds."""
    modules = set()
    for name in imported_names(source):
        holder = name.rpartition(".")[0]
        modules |= {name} & known or {holder} & known
    return modules


def find_circle(edges: dict[str, set[str]]) -> list[str]:
    """Find modules that import each other in a circle, first and last the same; empty without one."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for imported in sorted(edges[module]):
            if circle := visit(imported, [*path, module]):
                return circle
        done.add(module)
        return []

    for module in sorted(edges):
        if circle := visit(module, []):
            return circle
    return []


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    files = module_files()
    return {
        name: imported_modules(file.read_text(encoding="utf-8"), set(files))
        for name, file in files.items()
    }


def test_no_modules_import_each_other_in_a_circle(edges: dict[str, set[str]]) -> None:
    assert " -> ".join(find_circle(edges)) == ""


def test_no_package_imports_one_above_it(edges: dict[str, set[str]]) -> None:
    wrong = [
        f"{module} -> {imported}"
        for module, all_imported in edges.items()
        for imported in all_imported
        if ORDER.index(imported.partition(".")[0]) > ORDER.index(module.partition(".")[0])
    ]
    assert wrong == []


def test_evaluation_imports_no_training(edges: dict[str, set[str]]) -> None:
    wrong = [
        f"{module} -> {imported}"
        for module, all_imported in edges.items()
        for imported in all_imported
        if module.startswith("evaluation") and imported.startswith(NOT_IN_EVALUATION)
    ]
    assert wrong == []


def test_packages_import_no_script(edges: dict[str, set[str]]) -> None:
    scripts = {file.stem for file in PROJECT.glob("*.py")}
    for name, file in module_files().items():
        used = {entry.partition(".")[0] for entry in imported_names(file.read_text("utf-8"))}
        assert not used & scripts, f"{name} imports a script"


def test_libraries_of_video_files_are_imported_where_they_are_used() -> None:
    """Within functions: no module needs them to be imported itself."""
    for name, file in module_files().items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        at_top = (node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
        used = imported_names("\n".join(map(ast.unparse, at_top)))
        assert not {entry.partition(".")[0] for entry in used} & VIDEO_FILES, name


def test_a_circle_is_found_whichever_import_closes_it() -> None:
    known = {"a.x", "a.y", "a.z"}
    at_top = imported_modules("from a import y\nimport os", known)
    within = imported_modules("def f():\n    from a.z import thing", known)
    for_types = imported_modules("if TYPE_CHECKING:\n    import a.x", known)
    assert (at_top, within, for_types) == ({"a.y"}, {"a.z"}, {"a.x"})
    circle = find_circle({"a.x": at_top, "a.y": within, "a.z": for_types})
    assert circle == ["a.x", "a.y", "a.z", "a.x"]
    assert find_circle({"a.x": at_top, "a.y": within, "a.z": set()}) == []

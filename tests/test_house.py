"""How the code hangs together: imports run one way, and a public name means one thing."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

PACKAGES = ("etl", "trainer", "benchmarks")

SAME_NAME = {
    "QUESTION": "every scenario of the benchmarks has one, by which the runner knows it",
    "batches": "every reader that the benchmarks compare has one, called by the loader's scenario",
    "measure": "every scenario of the benchmarks has one, which the runner calls",
    "write": "every reader that the benchmarks compare may have one, which prepares its files",
}
"""Names that several modules make public, with the reason; at most ten."""


def test_no_module_imports_itself_by_way_of_others_even_inside_functions():
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    assert len(graph.modules) > 100
    imported = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        raise AssertionError("import cycle: " + " <- ".join(error.args[1])) from None


def public_names(path):
    """Names in a module's `__all__` that it makes itself, and does not import from another module of ours."""
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if (node.module or "").split(".")[0] in PACKAGES]
    imported = {alias.asname or alias.name for node in ours for alias in node.names}
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]
    ]
    return {name for value in lists for name in ast.literal_eval(value)} - imported


def test_a_public_name_is_made_by_one_module():
    makers = defaultdict(list)
    root = Path(__file__).resolve().parents[1]
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            for name in public_names(path):
                makers[name].append(str(path.relative_to(root)))
    assert len(makers) > 300
    double = {name: paths for name, paths in sorted(makers.items()) if len(paths) > 1 and name != "main"}
    lines = [f"{name}: {', '.join(paths)}" for name, paths in double.items() if name not in SAME_NAME]
    assert not lines, "in __all__ of several modules:\n" + "\n".join(lines)
    assert not SAME_NAME.keys() - double.keys(), "no longer in two modules, take them out of SAME_NAME"
    assert len(SAME_NAME) <= 10

"""Check the code against the limits of docs/architecture.md.

`python -m tests.code_metrics [PATH …]` prints every broken limit and the lines per package, and
exits with 1 where a limit is broken. `make lint` runs it over all code but the tests.
"""

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES, FUNCTION_NODES, PARAMETERS, COLUMNS = 250, 40, 250, 6, 100
# modules and packages directly in bench/, and the longest chain of imports among them
UNITS, LEVELS = 28, 9
COMMAND_LINES = 120  # of a file directly in bench/
VERB_SHARE = 0.6  # of the docstrings of functions that begin with a verb in the imperative
VAGUE = {
    "asked",
    "said",
    "found",
    "known",
    "whole",
    "mine",
    "there",
}  # names that do not say what a value is
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = ast.FunctionDef | ast.AsyncFunctionDef
VERBS = set((ROOT / "tests" / "imperative_verbs.txt").read_text(encoding="utf-8").split())


def sources(paths: list[Path]) -> Iterator[tuple[Path, str, ast.Module]]:
    """Yield every Python file at or below the paths, with its text and syntax tree."""
    for path in sorted({file for p in paths for file in ([p] if p.is_file() else p.rglob("*.py"))}):
        text = path.read_text(encoding="utf-8")
        yield path, text, ast.parse(text)


def parameters(function: Function) -> int:
    """Count the parameters of a function, `self` and `cls` aside."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def depth(node: ast.AST) -> int:
    """Return how deeply comprehensions are nested in a node."""
    below = max((depth(child) for child in ast.iter_child_nodes(node)), default=0)
    return below + isinstance(node, COMPREHENSIONS)


def assigned(tree: ast.AST) -> set[str]:
    """Return the names of all local variables and parameters."""
    stored = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    return stored | {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}


def may_take_more(function: Function, lines: list[str]) -> bool:
    """Tell whether a function is exempt from the limit of parameters, by a mark on its def line."""
    return function.name == "__init__" or "noqa: PLR0913" in lines[function.lineno - 1]


def may_be_longer(function: Function, lines: list[str]) -> bool:
    """Tell whether a function is exempt from the limits of size, by a mark on its def line."""
    return "noqa: PLR0915" in lines[function.lineno - 1]


def function_faults(path: Path, function: Function, text: list[str]) -> Iterator[str]:
    """Yield a line for each limit that a function breaks."""
    where = f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    nodes = sum(1 for _ in ast.walk(function))
    longer = may_be_longer(function, text)
    if lines > FUNCTION_LINES and not longer:
        yield f"{where}: {lines} lines (at most {FUNCTION_LINES})"
    if nodes > FUNCTION_NODES and not longer:
        yield f"{where}: {nodes} syntax nodes (at most {FUNCTION_NODES})"
    if parameters(function) > PARAMETERS and not may_take_more(function, text):
        yield f"{where}: {parameters(function)} parameters (at most {PARAMETERS})"
    if depth(function) > 2:
        yield f"{where}: comprehensions nested {depth(function)} deep (at most 2)"


def file_faults(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """Yield a line for each limit that a file breaks."""
    where, lines = path.relative_to(ROOT), text.splitlines()
    limit = COMMAND_LINES if path.parent == ROOT / "bench" else FILE_LINES
    if len(lines) > limit:
        yield f"{where}: {len(lines)} lines (at most {limit})"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"{where}:{number}: {len(line)} columns (at most {COLUMNS})"
    if names := VAGUE & assigned(tree):
        yield f"{where}: names that do not say what a value is: {', '.join(sorted(names))}"
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield from function_faults(path, node, lines)


def structure_faults() -> Iterator[str]:
    """Yield a line where bench/ has too many units or too long a chain of imports among them."""
    graph = grimp.build_graph("bench")
    units = sorted(graph.find_children("bench"))
    for unit in units:
        graph.squash_module(unit)
    below = {unit: graph.find_modules_directly_imported_by(unit) & set(units) for unit in units}
    levels = dict.fromkeys(units, 1)
    for _ in units:
        levels = {u: 1 + max((levels[v] for v in below[u] if v != u), default=0) for u in units}
    edges = sum(len(used - {unit}) for unit, used in below.items())
    print(f"{len(units)} units, {max(levels.values())} levels, {edges} edges between units")
    if len(units) > UNITS or max(levels.values()) > LEVELS:
        yield f"bench: more than {UNITS} units or {LEVELS} levels"


def begins_with_verb(docstring: str) -> bool:
    """Tell whether a docstring begins with a verb in the imperative."""
    return docstring.split()[0].strip("`.,:;").lower() in VERBS if docstring.split() else False


def main(arguments: list[str]) -> int:
    """Print a summary per package and every broken limit."""
    given = [Path(argument).resolve() for argument in arguments]
    paths = given or [ROOT / name for name in ("bench", "architectures", "benchmarks")]
    sizes, faults, verbs, classes = (
        Counter[str](),
        list[str](),
        list[bool](),
        defaultdict[str, list[str]](list),
    )
    nouns = Counter[str]()
    for path, text, tree in sources(paths):
        sizes[str(path.parent.relative_to(ROOT))] += text.count("\n")
        faults += file_faults(path, text, tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(str(path.relative_to(ROOT)))
            if isinstance(node, Function) and (docstring := ast.get_docstring(node)):
                verbs.append(begins_with_verb(docstring))
                if not verbs[-1]:
                    nouns[docstring.split()[0]] += 1
    faults += [
        f"class {name} is defined in {', '.join(p)}" for name, p in classes.items() if len(p) > 1
    ]
    share = sum(verbs) / max(1, len(verbs))
    if share < VERB_SHARE:
        faults.append(
            f"{share:.0%} of the docstrings begin with a verb (at least {VERB_SHARE:.0%})"
        )
    faults += [] if given else structure_faults()
    print(*faults, sep="\n")
    for folder, lines in sorted(sizes.items()):
        print(f"{lines:7,} lines  {folder}")
    print(f"{sum(sizes.values()):7,} lines, {share:.0%} of docstrings begin with a verb")
    print(f"{len(faults):,} faults")
    if share < 1:
        print("not verbs:", ", ".join(f"{word} {count}" for word, count in nouns.most_common(12)))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Print how the code measures up to the limits of docs/architecture.md: `python -m tests.code_metrics [PATH …]`.

Exits with 1 where a limit is broken. `make lint` runs it over bench/, architectures/ and benchmarks/.
"""

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES, FUNCTION_NODES, PARAMETERS, COLUMNS = 250, 40, 250, 6, 100
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
VERBS = set(
    """accept accumulate acquire add adjust advance affirm aggregate align allocate allow answer append apply
    arrange ask assemble assert assign attach average balance begin bind block bound break bring broadcast build cache
    calculate call cancel cap capture cast change check choose clamp classify clean clear clip clone close cluster
    collect combine come compare compile complete compose compress compute concatenate condense configure confirm
    connect consume contain continue convert convolve copy correct count cover create cut decide declare decode
    deduplicate default defer define delegate delete deliver derive describe deserialize detach detect determine
    digest discard discover dispatch display distribute divide do download draw drop dump embed emit empty enable
    encode end enforce enlarge ensure enter enumerate escape estimate evaluate exchange exclude execute exercise exit
    expand expect explain export expose express extend extract factor fail feed fetch fill filter find finish fit fix
    flag flatten flush fold follow forbid force forecast form format forward free freeze gather generate get give go
    group grow guard handle hash hide hold identify ignore import include increase index infer inform initialize
    inject insert inspect install integrate interpolate interpret interrupt invert invoke issue iterate join judge
    keep kill label lay leave let limit link list listen load locate lock log look lower make map mark mask match
    materialize mean measure merge mix modify monitor move multiply name nest normalize note notify number observe
    obtain offer omit open order orthogonalize output override own pack pad pair parse partition pass patch pause perform permute
    pick pin place plan plot point pool populate post predict prefix prepare present preserve prevent print probe
    process produce profile project promise propagate protect prove provide prune pull push put query queue quote
    raise randomize rank rate reach read rebuild receive recognize recommend record recover redirect reduce refer
    refill refine refresh refuse register reject relate release reload remember remove rename render repeat replace
    replay reply report represent request require rerun resample reserve reset reshape resolve restart restore
    restrict resume retain retrieve return reuse reverse revert rewind rewrite rotate round route run sample save say
    scale scan schedule score search seed seek select send separate serialize serve set shade shard share shift show
    shrink shuffle shut sign signal simplify simulate size skip slice solve sort spawn specify split spread stack
    stamp start state step stop store stream strip structure submit subtract suggest sum summarize supply support
    suppress swap switch synchronize tabulate take target tell terminate test throw tie time tokenize toggle trace
    track train transform translate transpose traverse treat trigger trim truncate try tune turn undo unpack unwrap
    update upload use validate vary verify view visit wait walk warm warn watch weigh widen withdraw wrap write yield
    zero reorder recompute compensate construct contrast cross-check decay demand double halve hand hint inherit
    invalidate launch lengthen mirror negate orient outline overlap overwrite persist poll prefill prepend quantize
    reconcile regress relay retry sanitize settle shorten standardize stratify substitute symmetrize tag tally
    tolerate unify unmask unset wire zip mend examine""".split()
)


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


def function_faults(path: Path, function: Function) -> Iterator[str]:
    """Yield a line for each limit that a function breaks."""
    where = f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    nodes = sum(1 for _ in ast.walk(function))
    if lines > FUNCTION_LINES:
        yield f"{where}: {lines} lines (at most {FUNCTION_LINES})"
    if nodes > FUNCTION_NODES:
        yield f"{where}: {nodes} syntax nodes (at most {FUNCTION_NODES})"
    if parameters(function) > PARAMETERS and function.name != "__init__":
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
            yield from function_faults(path, node)


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
    print(*faults, sep="\n")
    for folder, lines in sorted(sizes.items()):
        print(f"{lines:7,} lines  {folder}")
    print(
        f"{sum(sizes.values()):7,} lines, {share:.0%} of docstrings begin with a verb, {len(faults)} faults"
    )
    if share < 1:
        print("not verbs:", ", ".join(f"{word} {count}" for word, count in nouns.most_common(12)))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

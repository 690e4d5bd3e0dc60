"""Review one Python file: complexity, long functions, bare excepts, mutable defaults, docstrings, TODOs.

Payload: {"path": "src/app.py"}. The result goes to the file that AGENTCTL_RESULT_FILE names.
"""

import ast
import io
import json
import os
import re
import sys
import tokenize

MAX_COMPLEXITY = 10
MAX_FUNCTION_LINES = 60
MAX_FINDINGS = 100  # listed in the result; `counts` always counts all of them

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, *FUNCTIONS)
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
TODO = re.compile(r"#\s*(TODO|FIXME|XXX)\b")


def complexity(function):
    """Return McCabe's cyclomatic complexity: the number of independent paths through `function`."""
    paths = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            paths += node is not function
        elif isinstance(node, (ast.Try, ast.TryStar)):
            paths += bool(node.orelse)
        elif isinstance(node, ast.Match):
            last = node.cases[-1]
            always = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None and not last.guard
            paths += len(node.cases) - always
    return paths


def is_mutable(default):
    """Say whether the default value would be shared, and changed, between calls."""
    if isinstance(default, ast.Call) and isinstance(default.func, ast.Name):
        return default.func.id in ("list", "dict", "set", "bytearray")
    return isinstance(default, MUTABLE)


def raises_again(handler):
    """Say whether the handler passes on what it caught."""
    return any(isinstance(step, ast.Raise) and step.exc is None for step in handler.body)


def undocumented(node, kind="module"):
    """Yield (line, what) for each public module, class and function below `node` without a docstring."""
    if ast.get_docstring(node, clean=False) is None:
        yield getattr(node, "lineno", 1), f"{kind} {getattr(node, 'name', '')}".strip()
    if not isinstance(node, FUNCTIONS):  # what is inside a function is its own affair
        for child in node.body:
            if isinstance(child, (ast.ClassDef, *FUNCTIONS)) and not child.name.startswith("_"):
                yield from undocumented(child, "class" if isinstance(child, ast.ClassDef) else "function")


def findings(tree, source):
    """Yield (kind, line, text) for everything worth a look."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            paths, lines = complexity(node), node.end_lineno - node.lineno + 1
            if paths > MAX_COMPLEXITY:
                yield "complex", node.lineno, f"{node.name} has complexity {paths}"
            if lines > MAX_FUNCTION_LINES:
                yield "long", node.lineno, f"{node.name} has {lines} lines"
        if isinstance(node, (ast.Lambda, *FUNCTIONS)):
            for default in filter(is_mutable, [*node.args.defaults, *node.args.kw_defaults]):
                yield "mutable_default", default.lineno, f"{ast.unparse(default)[:40]} is kept between calls"
        if isinstance(node, ast.ExceptHandler) and node.type is None and not raises_again(node):
            yield "bare_except", node.lineno, "a bare except also hides KeyboardInterrupt"
    for line, what in undocumented(tree):
        yield "no_docstring", line, f"{what} has no docstring"
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT and TODO.match(token.string):
            yield "todo", token.start[0], token.string[:80]


def review(path, source):
    """Return what is to be said about one file, as the task's result."""
    tree = ast.parse(source, path)
    kinds = ("complex", "long", "bare_except", "mutable_default", "no_docstring", "todo")
    found = sorted(findings(tree, source), key=lambda finding: finding[1])
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    ranked = sorted(((complexity(node), node.name, node.lineno) for node in functions), reverse=True)
    return {
        "path": path,
        "lines": source.count(b"\n") + (source != b"" and not source.endswith(b"\n")),
        "functions": len(functions),
        "counts": {kind: sum(kind == other for other, _, _ in found) for kind in kinds},
        "findings": [{"kind": kind, "line": line, "text": text} for kind, line, text in found[:MAX_FINDINGS]],
        "most_complex": [{"complexity": c, "name": name, "line": line} for c, name, line in ranked[:10]],
    }


def main():
    path = json.load(sys.stdin)["path"]
    with open(path, "rb") as file:
        source = file.read()
    # The result goes to a file here, so what is printed is only log: `agentctl logs -f reviewer`.
    print(f"{len(source):,} bytes to review: {path}", flush=True)
    try:
        result = review(path, source)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 1
        print(f"{path}:{line}: cannot be parsed as Python: {getattr(error, 'msg', error)}", file=sys.stderr)
        return 65  # permanent: straight to the dead letters, with this text as the reason
    with open(os.environ["AGENTCTL_RESULT_FILE"], "w", encoding="utf-8") as file:
        json.dump(result, file)
    print(f"findings: {sum(result['counts'].values())} in {result['lines']:,} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())

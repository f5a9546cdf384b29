"""Small faults that :mod:`benchmarks.mutants` plants in a module, on its syntax tree.

Planted are what a slip of the hand looks like: another comparison, operator or number, a negated condition, a
statement or an option left out, the least for the greatest. Left alone are texts, and what only makes one: raised
messages (that something is raised at all counts), log lines, docstrings, functions that return text; annotations and
decorators, too.
"""

import ast
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import re
import types
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
PAIRS = ("min max", "any all", "minimum maximum", "argmin argmax", "floor ceil", "left right", "union intersection")
NAMES = {one: other for pair in PAIRS for one, other in (pair.split(), pair.split()[::-1])}
TEXT_MAKERS = re.compile(r"warn|log_|__str__|__repr__")
LOG = re.compile(r"_log_|(logger|warnings|bar)\.")


@dataclass(frozen=True)
class Mutant:
    """A module with one fault.

    Attributes:
        path: Of the module.
        function: Qualified name of the outermost function that has the fault, or its class; empty outside of both.
        line: Number of the line.
        change: What was written, and what is written instead.
        key: Hash of the function's text and the change: the same as long as both are.
        code: The module with the fault, compiled.
    """

    path: Path
    function: str
    line: int
    change: str
    key: str
    code: types.CodeType

    def __str__(self) -> str:
        return f"{self.key} {self.path}:{self.line} {self.function}: {self.change}"


class Planted(importlib.machinery.SourceFileLoader, importlib.abc.MetaPathFinder):
    """Import one module with its fault, and all others as they are."""

    def __init__(self, mutant: Mutant) -> None:
        self.code = mutant.code
        super().__init__(".".join(mutant.path.with_suffix("").parts[1:]), str(mutant.path.absolute()))

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return this module's own specification; None for others."""
        return (
            importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None
        )

    def get_code(self, fullname: str) -> types.CodeType:
        """Return the code with the fault."""
        return self.code


def keys(path: Path) -> list[str]:
    """Return the key of every mutant of a module."""
    return [planted[0] for planted in _planted(path)]


def mutants(path: Path, chosen: Container[str]) -> list[Mutant]:
    """Return the mutants of a module that have the chosen keys."""
    return [
        Mutant(path, function, line, change, key, compile(tree, str(path), "exec"))
        for key, function, line, change, tree in _planted(path)
        if key in chosen
    ]


def _planted(path: Path) -> Iterator[tuple[str, str, int, str, ast.Module]]:
    """Yield key, function, line and change of every mutant, and its tree until the next one."""
    tree = ast.parse(path.read_text())
    seen: Counter[str] = Counter()
    for function, text, parent, field, index in _places(tree, "", ""):
        held = getattr(parent, field)
        node = held if index is None else held[index]
        for other in _replacements(node):
            change = f"{_line(node)} -> {_line(other)}"
            identity = f"{path.as_posix()} {function} {text} {change}"
            seen[identity] += 1
            key = hashlib.sha256(f"{identity} {seen[identity]}".encode()).hexdigest()[:16]
            _put(parent, field, index, other)
            yield key, function, getattr(node, "lineno", 0), change, ast.fix_missing_locations(tree)
            _put(parent, field, index, node)


def _line(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else f"{text[:60]} … {text[-28:]}"


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _places(parent: ast.AST, function: str, text: str) -> Iterator[tuple[str, str, ast.AST, str, int | None]]:
    """Yield where a node hangs that may be replaced, with the function around it and that function's text."""
    for field, held in ast.iter_fields(parent):
        for index, node in enumerate(held) if isinstance(held, list) else [(None, held)]:
            if not isinstance(node, ast.AST) or field in ("annotation", "returns", "decorator_list") or _is_text(node):
                continue
            yield function, text, parent, field, index
            inner = (function, text)
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not text:
                text_of_function = ast.unparse(node) if isinstance(node, ast.FunctionDef) else ""
                inner = (f"{function}.{node.name}".lstrip("."), text_of_function)
            if not isinstance(node, ast.Raise):
                yield from _places(node, *inner)


def _is_text(node: ast.AST) -> bool:
    match node:
        case ast.FunctionDef():
            return ast.unparse(node.returns or ast.Name("")) == "str" or bool(TEXT_MAKERS.search(node.name))
        case ast.Expr():
            return isinstance(node.value, ast.Constant) or bool(LOG.match(ast.unparse(node)))
        case ast.If():
            return all(_is_text(statement) for statement in node.body) or ast.unparse(node.test) == "TYPE_CHECKING"
        case ast.keyword():
            return node.arg in ("dtype", "strict")  # counts are as exact in another type; an assertion
    return isinstance(node, ast.JoinedStr | ast.Assert | ast.Import | ast.ImportFrom)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:  # noqa: PLR0912 - a table of what replaces what
    match node:
        case ast.Compare(left, [operator], [right]) if type(operator) in SWAPPED:
            yield ast.Compare(left, [SWAPPED[type(operator)]()], [right])
        case ast.Compare(left, [first, second], rights):
            yield ast.Compare(left, [SWAPPED[type(first)](), second], rights)
            yield ast.Compare(left, [first, SWAPPED[type(second)]()], rights)
        case ast.BinOp(left, operator, right) if type(operator) in SWAPPED:
            yield ast.BinOp(left, SWAPPED[type(operator)](), right)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(SWAPPED[type(operator)](), values)
        case ast.UnaryOp(_, operand):
            yield operand
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Constant("left" | "right" as value):
            yield ast.Constant(NAMES[value])
        case ast.Name(name, ast.Load()) if name in NAMES:
            yield ast.Name(NAMES[name], ast.Load())
        case ast.Attribute(value, name, ast.Load()) if name in NAMES:
            yield ast.Attribute(value, NAMES[name], ast.Load())
        case ast.If(test, body, orelse):
            yield ast.copy_location(ast.If(ast.UnaryOp(ast.Not(), test), body, orelse), node)
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Call(ast.Attribute(), args, keywords):
            named = [option for option in keywords if option.arg and not _is_text(option)]
            yield from (ast.Call(node.func, args, [one for one in keywords if one is not left]) for left in named)
        case ast.AugAssign(target, operator, value) if type(operator) in SWAPPED:
            yield ast.copy_location(ast.AugAssign(target, SWAPPED[type(operator)](), value), node)
        case ast.Break() | ast.Continue():
            yield ast.copy_location(ast.Continue() if isinstance(node, ast.Break) else ast.Break(), node)
        case ast.Raise() | ast.Expr(ast.Call()) | ast.Assign([ast.Subscript() | ast.Attribute()]):
            yield ast.copy_location(ast.Pass(), node)

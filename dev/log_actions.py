"""Writes the table of log records in docs/observability.md from the calls in the source.

python dev/log_actions.py            writes it
python dev/log_actions.py --check    only says whether it is up to date
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "worker" / "longshore"
PAGE = ROOT / "docs" / "observability.md"
BEGIN = "<!-- written by dev/log_actions.py -->"
END = "<!-- end -->"
_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
_SEVERITY = ["debug", "info", "warning", "error"]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Record:
    """One place that logs."""

    action: str
    logger: str
    levels: frozenset[str]
    sentence: str
    fields: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class _Wrapper:
    """A function with a parameter ``action`` that logs on behalf of its callers."""

    parameters: list[str]  # without self
    levels: frozenset[str]
    sentence: str
    fields: frozenset[str]
    takes_fields: bool  # as **fields


def records() -> list[Record]:
    """All of them, by action."""
    modules = {path: ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
    wrappers = {name: one for tree in modules.values() for name, one in _wrappers(tree)}
    found = [record for tree in modules.values() for record in _records(tree, wrappers)]
    return sorted(found, key=lambda one: (one.logger, one.action))


def table() -> str:
    """The table as Markdown: one line an action."""
    merged: dict[str, list[Record]] = {}
    for record in records():
        merged.setdefault(record.action, []).append(record)
    lines = ["| Action | Level | It says | Fields |", "|---|---|---|---|"]
    for action, same in sorted(merged.items()):
        levels = sorted({level for one in same for level in one.levels}, key=_SEVERITY.index)
        sentences = dict.fromkeys(one.sentence for one in same if one.sentence)
        fields = sorted({field for one in same for field in one.fields} - {"action"})
        names = ", ".join(f"`{field}`" for field in fields)
        lines.append(f"| `{action}` | {', '.join(levels)} | {' · '.join(sentences)} | {names} |")
    return "\n".join(lines)


def page() -> str:
    """The page with the table as it should be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def _records(tree: ast.Module, wrappers: dict[str, _Wrapper]) -> Iterator[Record]:
    makers = dict(_makers(tree))
    logger = _logger_name(tree)
    for function in _functions(tree):
        variables = _dicts(function)
        for call in ast.walk(function):
            if not isinstance(call, ast.Call):
                continue
            wrapper = wrappers.get(_name(call.func))
            if wrapper is not None:
                yield from _through(call, wrapper, logger)
                continue
            action, fields = _extra(call, makers, variables)
            actions = _texts(action)
            sentences = _texts(call.args[0]) if call.args else []
            paired = len(sentences) == len(actions)  # both of one condition
            for position, text in enumerate(actions):
                levels = frozenset({_LEVELS.get(_name(call.func), "info")})
                sentence = _shown([sentences[position]] if paired else sentences)
                yield Record(action=text, logger=logger, levels=levels, sentence=sentence, fields=fields)


def _through(call: ast.Call, wrapper: _Wrapper, logger: str) -> Iterator[Record]:
    own = {keyword.arg for keyword in call.keywords if keyword.arg} - set(wrapper.parameters) - {"raised"}
    level = _argument(call, wrapper.parameters, "level")
    levels = frozenset(_attributes(level)) or wrapper.levels
    sentences = _texts(_argument(call, wrapper.parameters, "sentence"))
    for action in _texts(_argument(call, wrapper.parameters, "action")):
        yield Record(
            action=action,
            logger=logger,
            levels=levels,
            sentence=_shown(sentences) or wrapper.sentence,
            fields=wrapper.fields | (frozenset(own) if wrapper.takes_fields else frozenset()),
        )


def _wrappers(tree: ast.Module) -> Iterator[tuple[str, _Wrapper]]:
    makers = dict(_makers(tree))
    for function in _functions(tree):
        parameters = _parameters(function)
        if "action" not in parameters:
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call):
                continue
            action, fields = _extra(call, makers, _dicts(function))
            if isinstance(action, ast.Name):
                level = _LEVELS.get(_name(call.func))
                yield (
                    function.name,
                    _Wrapper(
                        parameters=parameters,
                        levels=frozenset({level} if level else ()),
                        sentence=_shown(_texts(call.args[0]) if call.args else []),
                        fields=fields,
                        takes_fields=function.args.kwarg is not None,
                    ),
                )


def _makers(tree: ast.Module) -> Iterator[tuple[str, tuple[list[str], frozenset[str]]]]:
    """Functions that return the fields of a record for an action."""
    for function in _functions(tree):
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict) and _value(node.value, "action"):
                yield function.name, (_parameters(function), _keys(node.value, _dicts(function)))


def _extra(
    call: ast.Call, makers: dict[str, tuple[list[str], frozenset[str]]], variables: dict[str, frozenset[str]]
) -> tuple[ast.expr | None, frozenset[str]]:
    """The action of a logging call, as it is written there, and the names of its fields."""
    extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
    parts: list[ast.expr | None] = [extra]
    action: ast.expr | None = None
    fields: frozenset[str] = frozenset()
    if isinstance(extra, ast.Dict):
        action, fields = _value(extra, "action"), _keys(extra, variables)
        parts = [value for key, value in zip(extra.keys, extra.values, strict=True) if key is None]
    for part in parts:
        if isinstance(part, ast.Call) and _name(part.func) in makers:
            parameters, made = makers[_name(part.func)]
            action, fields = _argument(part, parameters, "action"), fields | made
    return action, fields


def _functions(tree: ast.Module) -> list[Function]:
    """Those that are in no other function: a call is found once."""
    found: list[Function] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if isinstance(child, Function):
                found.append(child)
            else:
                waiting.append(child)
    return found


def _parameters(function: Function) -> list[str]:
    names = [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return names[1:] if names[:1] == ["self"] else names


def _dicts(function: Function) -> dict[str, frozenset[str]]:
    """Local variables that are dict displays, and their keys."""
    return {
        node.targets[0].id: _keys(node.value, {})
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Dict)
    }


def _keys(display: ast.Dict, variables: dict[str, frozenset[str]]) -> frozenset[str]:
    keys: set[str] = set()
    for key, value in zip(display.keys, display.values, strict=True):
        if isinstance(key, ast.Constant):
            keys.add(str(key.value))
        elif key is None and isinstance(value, ast.Name):
            keys |= variables.get(value.id, frozenset())
    return frozenset(keys)


def _value(display: ast.Dict, name: str) -> ast.expr | None:
    for key, value in zip(display.keys, display.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == name:
            return value
    return None


def _argument(call: ast.Call, parameters: list[str], name: str) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    position = parameters.index(name) if name in parameters else len(call.args)
    return call.args[position] if position < len(call.args) else None


def _texts(node: ast.expr | None) -> list[str]:
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _attributes(node: ast.expr | None) -> list[str]:
    if isinstance(node, ast.IfExp):
        return _attributes(node.body) + _attributes(node.orelse)
    return [node.attr.lower()] if isinstance(node, ast.Attribute) else []


def _shown(sentences: list[str]) -> str:
    return " / ".join(text.replace("%s", "…").replace("|", "\\|") for text in sentences)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _logger_name(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) == "getLogger" and node.args:
            return (_texts(node.args[0]) or [""])[0]
    return ""


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == page() else f"{PAGE.relative_to(ROOT)} is not up to date; run {sys.argv[0]}")
    PAGE.write_text(page())

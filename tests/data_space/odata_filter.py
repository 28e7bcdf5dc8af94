"""Filters of the OData catalogue, in the part of the service's language that clients use.

Source: https://documentation.dataspace.copernicus.eu/APIs/OData.html
"""

import operator
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from data_space.products import Bounds, meets, ring_bounds

__all__ = ["Attribute", "Entry", "QueryError", "Value", "parse_filter"]

Value = str | float | bool | datetime


class QueryError(ValueError):
    """A query that the service refuses."""

    def __init__(self, message: str, status: int = 400) -> None:
        """`status` is that of the answer."""
        super().__init__(message)
        self.status = status


class Attribute(NamedTuple):
    """What the catalogue knows of a product beyond the fields that all products have."""

    kind: str
    """`String`, `Double` or `Integer`."""
    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Entry:
    """A product as a filter sees it."""

    fields: Mapping[str, Value]
    bounds: Bounds
    attributes: tuple[Attribute, ...]


Predicate = Callable[[Entry], bool]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "gt", "ge", "lt", "le")
}
_TEXT: dict[str, Callable[[Any, str], bool]] = {
    "contains": str.__contains__,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_ATTRIBUTE_TYPES: dict[str, type[Value]] = {"String": str, "Double": float, "Integer": float}
_ANY_ATTRIBUTE = re.compile(r"Attributes/OData\.CSC\.(\w+)Attribute/any")
_POLYGON = re.compile(r"geography'SRID=4326;POLYGON ?\(\(([-\d., ]+)\)\)'")
_TOKEN = re.compile(
    r"""\s*(?:(?P<geography>geography'[^']*')
    | (?P<text>'(?:[^']|'')*')
    | (?P<time>\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))?)
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<word>[A-Za-z][\w.]*(?:/[\w.]+)*)
    | (?P<sign>[(),:=]))\s*""",
    re.VERBOSE,
)


def parse_filter(text: str, types: Mapping[str, type[Value]]) -> Predicate:
    """Whether an entry fits a filter, which may name the fields of `types`.

    Raises:
        QueryError: the text is no filter, or one that this catalogue does not know.
    """
    return _Parser(text, types).parse()


class _Parser:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, text: str, types: Mapping[str, type[Value]]) -> None:
        self.tokens = deque([*_tokens(text), ("end", "")])
        self.types = types

    def parse(self) -> Predicate:
        predicate = self._alternatives()
        self._take("")
        return predicate

    def _take(self, *wanted: str) -> str:
        _, text = self.tokens.popleft()
        if text not in wanted:
            raise QueryError(f"Invalid filter: {text or 'its end'!r} where one of {sorted(wanted)} is expected")
        return text

    def _alternatives(self) -> Predicate:
        terms = [self._conditions()]
        while self.tokens[0][1] == "or":
            self._take("or")
            terms.append(self._conditions())
        return lambda entry: any(term(entry) for term in terms)

    def _conditions(self) -> Predicate:
        terms = [self._condition()]
        while self.tokens[0][1] == "and":
            self._take("and")
            terms.append(self._condition())
        return lambda entry: all(term(entry) for term in terms)

    def _condition(self) -> Predicate:
        word = self.tokens[0][1]
        if word == "not":
            self._take("not")
            inner = self._condition()
            return lambda entry: not inner(entry)
        if word == "(":
            return self._in_parentheses(self._alternatives)
        if word in _TEXT or word == "OData.CSC.Intersects" or _ANY_ATTRIBUTE.fullmatch(word):
            self.tokens.popleft()
            return self._in_parentheses(lambda: self._arguments(word))
        field = self._take(*self.types)
        compare, value = _COMPARE[self._take(*_COMPARE)], self._literal(self.types[field])
        return lambda entry: compare(entry.fields[field], value)

    def _in_parentheses(self, parse: Callable[[], Predicate]) -> Predicate:
        self._take("(")
        predicate = parse()
        self._take(")")
        return predicate

    def _arguments(self, function: str) -> Predicate:
        if function == "OData.CSC.Intersects":
            self._take("area")
            self._take("=")
            bounds = _polygon_bounds(self.tokens.popleft()[1])
            return lambda entry: meets(entry.bounds, bounds)
        if found := _ANY_ATTRIBUTE.fullmatch(function):
            return self._any_attribute(found[1])
        field = self._take(*(field for field, kind in self.types.items() if kind is str))
        self._take(",")
        text = self._literal(str)
        return lambda entry: _TEXT[function](entry.fields[field], str(text))

    def _any_attribute(self, kind: str) -> Predicate:
        if kind not in _ATTRIBUTE_TYPES:
            raise QueryError(f"Invalid attribute type: {kind}")
        variable = self.tokens.popleft()[1]
        self._take(":")
        name, value = f"{variable}/Name", f"{variable}/OData.CSC.{kind}Attribute/Value"
        outer, self.types = self.types, {name: str, value: _ATTRIBUTE_TYPES[kind]}
        inner = self._alternatives()
        self.types = outer
        return lambda entry: any(
            inner(Entry({name: attribute.name, value: attribute.value}, entry.bounds, ()))
            for attribute in entry.attributes
            if attribute.kind == kind
        )

    def _literal(self, wanted: type[Value]) -> Value:
        kind, text = self.tokens.popleft()
        value: Value | None = None
        if kind == "text":
            value = text[1:-1].replace("''", "'")
        elif kind == "number":
            value = float(text)
        elif kind == "time":
            value = _time(text)
        elif text in ("true", "false"):
            value = text == "true"
        if value is None or not isinstance(value, wanted):
            raise QueryError(f"Invalid value: {text!r} where a {wanted.__name__} is expected")
        return value


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    start = 0
    while start < len(text):
        found = _TOKEN.match(text, start)
        if not found or not found.lastgroup:
            raise QueryError(f"Invalid filter at {text[start : start + 20]!r}")
        yield found.lastgroup, found[found.lastgroup]
        start = found.end()


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise QueryError(f"Invalid time: {text}") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _polygon_bounds(text: str) -> Bounds:
    found = _POLYGON.fullmatch(text)
    try:
        ring = [(float(x), float(y)) for x, y in (pair.split() for pair in found[1].split(","))] if found else []
    except ValueError:
        ring = []
    if len(ring) < 4 or ring[0] != ring[-1] or any(abs(x) > 180 or abs(y) > 90 for x, y in ring):
        raise QueryError(f"Invalid geography, which must be a closed POLYGON in degrees: {text}")
    return ring_bounds(tuple(ring))

"""Reads Terraform's configuration files as far as blocks, attributes and literal values.

Used to list variables and to see what a template needs before Terraform runs. Nothing is evaluated but
literals: whatever else an expression says stays text. Syntax: github.com/hashicorp/hcl, hclsyntax/spec.md.
Invariant: what this reader can't make out raises HclError, and Terraform, run afterwards, has the last word.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_DEPTH = 100


class HclError(ValueError):
    """Not understood; the text names the line."""


class Token(NamedTuple):
    """A piece of the text: `kind` is name, number, string, heredoc, newline, or the punctuation itself."""

    kind: str
    text: str
    start: int
    end: int


class Block(NamedTuple):
    """A block: its attributes as expressions, and the blocks inside. `start`, `end`: its place in the file."""

    type: str
    labels: tuple[str, ...]
    attributes: dict[str, "Expression"]
    blocks: list["Block"]
    start: int = 0
    end: int = 0


class Expression(NamedTuple):
    """What stands right of an equals sign. `start`: where the attribute's name begins."""

    text: str
    tokens: tuple[Token, ...]
    start: int = 0

    @property
    def end(self) -> int:
        """Where it ends in the file."""
        return self.tokens[-1].end

    def literal(self) -> Any:
        """Its value as JSON would hold it. Raises HclError for anything but a literal."""
        return _Literal([token for token in self.tokens if token.kind != "newline"]).read()


_SPACE = re.compile(r"(?:[ \t\r]|#[^\n]*|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_HEREDOC = re.compile(r"<<(-?)([^\W\d][\w-]*)\r?\n")
_NAME = re.compile(r"[^\W\d][\w-]*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_PUNCTUATION = re.compile(r"\.\.\.|=>|==|!=|<=|>=|&&|\|\||::|[-+*/%=!<>?:,.()\[\]{}]")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|([$%])\4\{", re.DOTALL)
_OPEN = {"(": ")", "[": "]", "{": "}"}


def read_blocks(text: str) -> list[Block]:
    """The blocks of a file. Raises HclError."""
    parser = _Parser(list(read_tokens(text)), text)
    _, blocks = parser.body(end=None)
    return blocks


def read_tokens(text: str, at: int = 0) -> Iterator[Token]:
    """The pieces of a text from `at` on. Raises HclError."""
    while at < len(text):
        if match := _SPACE.match(text, at):
            at = match.end()
            continue
        token = _token(text, at)
        yield token
        at = token.end


def _token(text: str, at: int) -> Token:
    if text[at] == "\n":
        return Token("newline", "\n", at, at + 1)
    if text[at] == '"':
        end = _string_end(text, at + 1)
        return Token("string", text[at:end], at, end)
    if match := _HEREDOC.match(text, at):
        close = re.compile(rf"^[ \t]*{re.escape(match[2])}\r?$", re.MULTILINE).search(text, match.end())
        if not close:
            raise _error(text, at, "a heredoc without an end")
        return Token("heredoc", text[at : close.end()], at, close.end())
    for kind, pattern in (("name", _NAME), ("number", _NUMBER), ("", _PUNCTUATION)):
        if match := pattern.match(text, at):
            return Token(kind or match[0], match[0], at, match.end())
    raise _error(text, at, f"an unexpected {text[at]!r}")


def _string_end(text: str, at: int, depth: int = 0) -> int:
    """Past the closing quote; `${` and `%{` may hold strings of their own."""
    if depth > MAX_DEPTH:
        raise _error(text, at, "strings nested too deeply")
    while at < len(text) and text[at] != "\n":
        if text[at] == '"':
            return at + 1
        if text[at] == "\\" or text[at : at + 3] in ("$${", "%%{"):
            at += 2 if text[at] == "\\" else 3
        elif text[at : at + 2] in ("${", "%{"):
            at = find_template_end(text, at + 2, depth)
        else:
            at += 1
    raise _error(text, min(at, len(text) - 1), "a string without an end")


def find_template_end(text: str, at: int, depth: int = 0) -> int:
    """Past the brace that ends an interpolation whose inside begins at `at`. Raises HclError."""
    braces = 1
    while at < len(text):
        if text[at] == '"':
            at = _string_end(text, at + 1, depth + 1)
            continue
        braces += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
        if braces == 0:
            return at
    raise _error(text, len(text) - 1, "an interpolation without an end")


def _error(text: str, at: int, what: str) -> HclError:
    return HclError(f"line {text.count(chr(10), 0, at) + 1}: {what}")


class _Parser:
    def __init__(self, tokens: list[Token], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._at = 0

    def body(self, end: str | None, depth: int = 0) -> tuple[dict[str, Expression], list[Block]]:
        """Attributes and blocks up to the token `end`."""
        if depth > MAX_DEPTH:
            raise self._fail("blocks nested too deeply")
        attributes: dict[str, Expression] = {}
        blocks: list[Block] = []
        while (token := self._next(skip_lines=True)) and token.kind != end:
            if token.kind != "name":
                raise self._fail(f"{token.text!r} where a name should be")
            following = self._peek()
            if following and following.kind == "=":
                self._at += 1
                attributes[token.text] = self._expression(token.start)
            else:
                blocks.append(self._block(token, depth))
        if token is None and end is not None:
            raise self._fail("a block without an end")
        return attributes, blocks

    def _block(self, head: Token, depth: int) -> Block:
        labels = []
        while (token := self._next()) and token.kind in ("name", "string"):
            labels.append(token.text.strip('"'))
        if token is None or token.kind != "{":
            raise self._fail(f"no brace after {head.text}")
        attributes, blocks = self.body("}", depth + 1)
        end = self._tokens[self._at - 1].end
        return Block(head.text, tuple(labels), attributes, blocks, head.start, end)

    def _expression(self, start: int) -> Expression:
        tokens = []
        open_: list[str] = []
        while token := self._peek():
            if not open_ and token.kind in ("newline", "}"):
                break
            self._at += 1
            tokens.append(token)
            if token.kind in _OPEN:
                open_.append(_OPEN[token.kind])
            elif open_ and token.kind == open_[-1]:
                open_.pop()
            if token.kind == "heredoc" and not open_:
                break
        if not tokens:
            raise self._fail("nothing after an equals sign")
        return Expression(self._text[tokens[0].start : tokens[-1].end], tuple(tokens), start)

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self, *, skip_lines: bool = False) -> Token | None:
        while token := self._peek():
            self._at += 1
            if not (skip_lines and token.kind == "newline"):
                return token
        return None

    def _fail(self, what: str) -> HclError:
        position = self._tokens[min(self._at, len(self._tokens)) - 1].start if self._tokens else 0
        return _error(self._text, position, what)


class _Literal:
    """Reads one literal value from tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def read(self) -> Any:
        value = self._value(0)
        if self._at != len(self._tokens):
            raise HclError("more than a literal")
        return value

    def _value(self, depth: int) -> Any:
        token = self._take()
        if depth > MAX_DEPTH:
            raise HclError("nested too deeply")
        if token.kind == "string":
            return _unquote(token.text)
        if token.kind == "heredoc":
            return _read_heredoc(token.text)
        if token.kind in ("number", "-"):
            return json.loads("-" + self._take().text if token.kind == "-" else token.text)
        if token.kind == "name" and token.text in ("true", "false", "null"):
            return json.loads(token.text)
        if token.kind == "[":
            return self._items("]", lambda: self._value(depth + 1))
        if token.kind == "{":
            return dict(self._items("}", lambda: self._pair(depth + 1)))
        raise HclError(f"{token.text!r} is no literal")

    def _items(self, end: str, read: Any) -> list[Any]:
        found = []
        while self._peek() != end:
            found.append(read())
            if self._peek() == ",":
                self._at += 1
        self._at += 1
        return found

    def _pair(self, depth: int) -> tuple[str, Any]:
        key = self._take()
        if self._take().kind not in ("=", ":"):
            raise HclError("no value after a key")
        return (_unquote(key.text) if key.kind == "string" else key.text), self._value(depth)

    def _peek(self) -> str:
        if self._at >= len(self._tokens):
            raise HclError("ends too early")
        return self._tokens[self._at].kind

    def _take(self) -> Token:
        self._peek()
        self._at += 1
        return self._tokens[self._at - 1]


def _unquote(text: str) -> str:
    inner = text[1:-1]
    if re.search(r"(?<![$%])[$%]\{", inner):
        raise HclError("interpolations are no literals")

    def replace(match: re.Match[str]) -> str:
        if digits := match[1] or match[2]:
            return chr(int(digits, 16))
        return match[4] + "{" if match[4] else _ESCAPES.get(match[3], match[0])

    return _ESCAPE.sub(replace, inner)


def _read_heredoc(text: str) -> str:
    head, *lines = text.split("\n")
    lines = lines[:-1]
    if head.startswith("<<-"):
        indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
        lines = [line[min(indents, default=0) :] for line in lines]
    return "".join(f"{line}\n" for line in lines)

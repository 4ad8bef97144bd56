"""Sums that stand in a question: digits and signs, or digits and the words for the signs. It reads no number words.

It also says which of two whole numbers is larger.
"""

import ast
import operator
import re
from fractions import Fraction

NUMBER = r"(\d+(?:\.\d+)?)"
WORDS = (  # told as a person tells it -> as it is written
    (rf"\badd {NUMBER} (?:and|to) {NUMBER}", r"\1 + \2"), (rf"\bmultiply {NUMBER} (?:by|with) {NUMBER}", r"\1 * \2"),
    (rf"\btake {NUMBER} away from {NUMBER}", r"\2 - \1"), (rf"\bsubtract {NUMBER} from {NUMBER}", r"\2 - \1"),
    (rf"\bdivide {NUMBER} by {NUMBER}", r"\1 / \2"), (rf"{NUMBER} ?(?:%|percent) of {NUMBER}", r"(\1 / 100 * \2)"),
    (rf"\bhalf of {NUMBER}", r"(\1 / 2)"), (rf"\b(?:twice|double) {NUMBER}", r"(\1 * 2)"),
    (r"\bplus\b", "+"), (r"\bminus\b", "-"), (r"\b(?:times|multiplied by)\b", "*"), (r"\bdivided by\b", "/"),
    (r"[×·]", "*"), (r"÷", "/"), (r"−", "-"))
SUM = re.compile(r"[\d(][\d\s.()+*/-]*[+*/-][\d\s.()+*/-]*[\d)]")
COMPARED = re.compile(r"\b(larger|smaller), (\d+) or (\d+)\?")  # whole numbers
LONGEST = 200  # characters of a sum
SIGNS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def answer(query: str) -> str | None:
    """Return the value of the first sum in a question, exactly or to 10 digits; None if there is none."""
    text = query.casefold()
    if compared := COMPARED.search(text):
        return str({"larger": max, "smaller": min}[compared[1]](int(compared[2]), int(compared[3])))
    for told, written in WORDS:
        text = re.sub(told, written, text)
    for found in SUM.findall(text):
        if len(found) <= LONGEST and (value := _value(found.strip())) is not None:
            return str(value) if value.denominator == 1 else f"{float(value):.10g}"
    return None


def _value(written: str) -> Fraction | None:
    try:
        return _of(ast.parse(written, mode="eval").body)
    except (SyntaxError, ZeroDivisionError, _NoSum):
        return None


class _NoSum(Exception):
    """The text is Python, but no sum."""


def _of(node: ast.expr) -> Fraction:
    """Return the value of a syntax tree of numbers, + - * / and brackets; nothing is ever run."""
    if isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
        return SIGNS[type(node.op)](_of(node.left), _of(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_of(node.operand)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    raise _NoSum

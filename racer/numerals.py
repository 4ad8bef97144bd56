"""The number that a text says, exactly, whether in plain characters, by LaTeX or by superscripts."""

import re
import unicodedata
from fractions import Fraction

LONGEST = 1000  # characters, and digits of a power; what is longer is no number to compare
SIGNS = str.maketrans({"\u2212": "-", "\uff0d": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " "})
RAISED = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
FRAC = r"\\[dtc]?frac\s?(?:\{\s?(-?\d+)\s?\}\s?\{\s?(\d+)\s?\}|(\d)\s?(\d))"
POWER = r"\s?(?:\{\s?([+-]?\d+)\s?\}|([+-]?\d+))"
PLAIN = (  # what is written and what it stands for, in this order
    (re.compile(r"(?<=\d)\u207b?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+"), lambda m: "^" + m[0].translate(RAISED)),
    (re.compile(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])"), " "),
    (re.compile(r"[\u00bc-\u00be\u2150-\u215e]"),
     lambda m: unicodedata.normalize("NFKC", m[0]).replace("\u2044", "/")),
    (re.compile(r"\\(?:text|math|mbox)[a-z]{0,4}\s?\{([^{}]*)\}"), r"\1"),
    (re.compile(r"(?<=\d)(?:\{,\}|\\[,!;:])(?=\d{3})"), ","),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\\(?:left|right|displaystyle)\b|\\[!()\[\]]"), ""),
    (re.compile(r"\\[ ,;:]"), " "),
    (re.compile(r"(?<=\d)\s?(?=\\[dtc]?frac)"), " "),
    (re.compile(FRAC), lambda m: f"{m[1] or m[3]}/{m[2] or m[4]}"),
    (re.compile(r"\s?\^\s?(?:\{\s?\\circ\s?\}|\\circ\b)|\s?\\degree\b"), "\u00b0"),
    (re.compile(r"(?<=\d)\s{0,2}(?:[xX*\u00d7\u00b7\u22c5]|\\times|\\cdot)\s{0,2}10\s?(?:\^|\*\*)" + POWER),
     lambda m: f"e{m[1] or m[2]}"),
    (re.compile(r"(?<![\w.,*])10(?:\s?\^|\*\*(?=[\d{+-]))" + POWER), lambda m: f"1e{m[1] or m[2]}"),
    (re.compile(r"(?<=\d)\s?\^" + POWER), lambda m: f"^{m[1] or m[2]}"),
)

GROUPED = r"\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+"
SUFFIX = r"(?:e[+-]?\d{1,3}|\^-?\d+|(?: \d+)?/[1-9]\d*)?+"
EXACT = (rf"(?>(?<![\d^])(?<!\d[.,])(?:{GROUPED})(?:\.\d+)?|(?<![\w.])\.\d+){SUFFIX}"
         r"(?!\d|[.,:/^-]\d|e[+-]?\d)%?")
MESS = r"(?<!\d)\d+(?:[.,:/^-]\d+|e[+-]?\d+)+"  # a date, a time, a sum: said, but no single number
NUMERAL = rf"(?:(?<![\w)\]}}])[-+])?[$\u20ac\u00a3\u00a5]?-?(?:{EXACT}|{MESS})"
BOXED = re.compile(r"\\f?boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
NUMBER = re.compile(rf"(?P<sign>-?)(?P<whole>(?>{GROUPED})(?!\d))?(?P<decimals>\.\d+)?(?:\^(?P<power>-?\d+)"
                    r"|(?P<part> \d+)?/(?P<below>[1-9]\d*)|(?P<exponent>e[+-]?\d{1,3}))?")
NO_UNIT = re.compile(r"[\d.,:/^*+-]|e[+-]?\d")  # behind a number: a date, a time, a sum


def plain(text: str) -> str:
    """Return a text with its numbers in plain characters: "-5", "1,000", "1 1/2", "6e23", "2^10"."""
    text = text.translate(SIGNS)
    for written, meant in PLAIN:
        text = written.sub(meant, text)
    return text


def read(text: str) -> tuple[Fraction, str] | None:
    """Return the number that a text in plain characters begins with, and the unit behind it; None if that is none.

    A currency before it, thousands separators and a percent sign behind it do not count.
    """
    text = re.sub(r"^(-?)[$\u20ac\u00a3\u00a5]\s*", r"\1", text.lstrip("= ").strip("$")).removeprefix("+")
    found = NUMBER.match(text)
    if len(text) > LONGEST or not (found["whole"] or found["decimals"]):
        return None
    rest = text[found.end():].strip().removeprefix("%").strip()
    value = None if NO_UNIT.match(rest) else _value(**found.groupdict(default=""))
    return None if value is None else (value, rest)


def _value(sign: str, whole: str, decimals: str, power: str, part: str, below: str, exponent: str) -> Fraction | None:
    if decimals and (power or below):
        return None
    value = Fraction(f"{re.sub('[, ]', '', whole) or '0'}{decimals}{exponent}")
    if power:
        if len(power) > 4 or value == 0 or len(str(value)) * abs(int(power)) > LONGEST:
            return None
        value **= int(power)
    if below:
        value = value + Fraction(int(part), int(below)) if part else value / int(below)
    return -value if sign else value

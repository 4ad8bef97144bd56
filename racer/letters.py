"""The option that a text names by its letter: "B", "B. Paris", "The answer is (B)", "\\boxed{\\text{B}}"."""

import re

LETTER = re.compile(r"\W*([A-Za-z])\W*")
OPENING = re.compile(r"[\s(\[*]*([A-Z])[)\].:]+[*]*(?=\s|$)")
FIRST_LINE = re.compile(r"\(?([A-Z])\)?[ \t]*\n")
MARKER = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]", re.MULTILINE)
SINGLE = re.compile(r"\\(?:text|math|mbox)[a-z]{0,4}\s?\{\s{0,3}[(\[]?([A-Za-z])[)\]]?[.:]?\s{0,3}\}"
                    r"|[*_`\"'$\u201c\u2018]{1,3}[(\[]?([A-Za-z])[)\]]?[.:]?[*_`\"'$\u201d\u2019]{1,3}")
MARKS = re.compile(r"[*`$]|\\[()\[\]]")

# Where a bare letter ends: "A" and "I" are words too, and "C" begins "C++".
END = r"(?=[ \t]{0,9}(?:\n|\Z|[.,;!?:](?!\w)|[<|)\]}]))"
GOES_ON = r"(?=[ \t]{1,9}(?:(?:because|since|as|and|but|for|in|which|due|not)\b|[(\u2013\u2014-]))"
REASON = r"(?=[ \t]{1,9}(?:because|since)\b)"
BARE = rf"(?:(?P<end>[A-Za-z]){END}|(?P<on>[A-HJ-Z]){GOES_ON}|(?P<i>I){REASON})"
SEVERAL = (r"(?!\s{0,9}(?:[,/&]|,?\s{0,9}\b(?:and|or)\b)\s{0,9}[(\[]?[A-Za-z][)\]]?\s{0,9}"
           r"(?:\Z|[\n.,;:!?)/&]|\b(?:and|or)\b))")
STATED = re.compile(
    r"\b(?i:answer\b(?!\s(?:choices|options)\b)[^\n.:=>]{0,40}?|(?:option|choice)\b\s?)"
    r"(?:\bis\b|[:=>]|\s[\u2013\u2014-]\s)\s{0,9}"
    r"(?i:(?:the\s)?(?:correct\s|best\s)?(?:option|choice|letter)\s{0,9}:?)?\s{0,9}"
    rf"(?:[(\[{{]?(?P<closed>[A-Za-z])[)\]}}]|{BARE}){SEVERAL}"
    r"|\\f?boxed\{\s{0,9}(?:\\[a-z]{1,9}\s?\{\s{0,9})?[(\[]?(?P<boxed>[A-Za-z])\s{0,9}(?:[)\]}]|[.:](?!\w))")
RIGHT = r"(?=[ \t]{1,9}(?i:is|must be|seems)[ \t]{1,9}(?i:the[ \t]{1,9})?(?i:correct|right|best|answer)\b)"
NAMED = re.compile(r"\b(?i:answer|option|choice)\s{1,9}[(\[]?(?P<named>[A-Za-z])[)\]]?"
                   rf"(?!\s{{0,9}}:)(?:{END}|{RIGHT}){SEVERAL}")


def letter_in(text: str, cut: bool = False) -> str | None:
    """Return the option that a text names, as a capital letter; None if it names none.

    That is the text itself, if it is one letter in whatever marks; else the last that it states ("the answer is B",
    "option: B", a box); else the one it begins with ("B. Paris"), unless a list begins there; else the last it names
    ("so option B.", "option B is correct"). Several at once ("A and B") are none, nor are the words in "a number" and
    "I think". Of a text that was `cut` off a bare letter at the very end says nothing: it may begin a word.
    """
    if found := LETTER.fullmatch(text):
        return found[1].upper()
    text = _plain(text)
    if letter := _last(STATED, text, cut):
        return letter
    if (found := opening(text)) and not (found == "A" and options_in(text)):
        return found
    return _last(NAMED, text, cut)


def opening(text: str) -> str | None:
    """Return the letter in a mark, or alone in its line, that a text begins with."""
    found = OPENING.match(text) or FIRST_LINE.match(text)
    return found[1] if found else None


def options_in(query: str) -> int:
    """Return how many options a query lists on lines of their own (A., B), (C) ...), 0 for none.

    Of several lists, as in a prompt with solved examples, the last one counts.
    """
    count = 0
    for letter in MARKER.findall(query):
        if letter == "A":
            count = 1
        elif count and ord(letter) - ord("A") == count:
            count += 1
    return count if count > 1 else 0


def _plain(text: str) -> str:
    """Return the text with a letter in marks of its own (`**B**`, `$B$`, `\\text{B}`) as "(B)", without other marks."""
    return MARKS.sub("", SINGLE.sub(lambda found: f"({found[1] or found[2]})", text)).replace("_", " ")


def _last(rule: re.Pattern, text: str, cut: bool) -> str | None:
    letters = [found[found.lastgroup] for found in rule.finditer(text)
               if not cut or found.end(found.lastgroup) < len(text)]
    return letters[-1].upper() if letters else None

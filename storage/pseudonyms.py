"""Subject ids that name nobody."""

from __future__ import annotations

import re

from geometry.errors import InputError

LONGEST_PSEUDONYM = 64
UNKNOWN_SUBJECT = "unknown"
"""What takes say of whom they show when nobody stated it."""

_REMEDY = "use a code such as subject-0007 or S012, and keep the list of who that is apart from the takes"
_WORD_EDGES = re.compile(r"[-._]+|(?<=[^\W\d_])(?=[A-Z])")
"""Between words: a sign, or a capital letter within a word as in JaneDoe."""


def require_pseudonym(text: str) -> str:
    """The subject id, if it does not look like a person's name or address.

    Refused with InputError: nothing at all, spaces, an @, signs that are not printed, more than 64 characters, and two
    or more capitalised words (JaneDoe, Jane-Doe, Jane_Doe). Codes pass: subject-0007, S012, P_ab3f, sim-0000. A name in
    small letters passes too: nothing can tell it from a code.
    """
    if not text:
        raise InputError("a pseudonym of the subject", "nothing", _REMEDY)
    if "@" in text:
        raise InputError("a pseudonym of the subject", "what looks like an e-mail address", _REMEDY)
    if any(sign.isspace() for sign in text):
        raise InputError("a pseudonym of the subject", "words with spaces, as in a person's name", _REMEDY)
    if not text.isprintable() or len(text) > LONGEST_PSEUDONYM:
        got = f"{len(text)} characters, some of which may not print"
        raise InputError(f"a pseudonym of at most {LONGEST_PSEUDONYM} printable characters", got, _REMEDY)
    names = [word for word in _WORD_EDGES.split(text) if len(word) >= 2 and word.isalpha() and word.istitle()]
    if len(names) >= 2:
        raise InputError("a pseudonym of the subject", "capitalised words, as in a person's name", _REMEDY)
    return text

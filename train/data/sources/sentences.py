"""Splits a paragraph into sentences by a few rules and short tables of abbreviations for English.

No library is used: NLTK and spaCy are not dependencies and would need a downloaded model.
"""

import itertools
import re


def split_sentences(line: str) -> list[str]:
    """Splits a line into sentences; joined with spaces they equal the line, up to white space.

    A sentence ends at `.`, `!`, `?` or `…` and any closing quotes and brackets, if white space follows and the next
    character after opening quotes is not a lower-case letter. An abbreviation of the tables below ends a sentence only
    under the condition stated there, and a question in quotes does not end it if "Mary asked" follows. Chinese and
    Japanese full stops need no space.
    """
    line = " ".join(line.split())
    cuts = [0]
    for match in _SENTENCE_END.finditer(line):
        if not match["mark"] or _ends(line, cuts[-1], match):
            cuts.append(match.end())
    pieces = (line[start:end].strip() for start, end in itertools.pairwise([*cuts, len(line)]))
    return [piece for piece in pieces if piece]


_SENTENCE_END = re.compile(
    r"""(?P<mark>[.!?…])(?P<closers>["'”’»)\]]{0,3})\s(?=["'“‘«(\[]*(?P<first>[^\W_]|[<$€£#]))|[。！？][」』”’]?"""
)

# Never ends a sentence.
_TITLE = re.compile(
    "Mrs?|MRS?|Ms|Dr|DR|St|Ste|Mt|Ft|Messrs|Mme|Mlle|Prof|Rev|REV|Hon|Capt|Col|Gen|Lt|Lieut|Sgt|Maj|Cpl|Gov|Sen|Rep|"
    r"Adm|Cdr|Supt|vs?|viz|cf|e\.g|i\.e|a\.k\.a|P\.S"
)
# Does not end a sentence before a number.
_NUMBERED = re.compile(
    "Nos?|nos?|Vols?|vols?|[Pp]p|Figs?|figs?|[Ee]qs?|[Cc]h|[Ss]ecs?|[Aa]rts?|[Oo]p|ca|est|max|min|approx|Ps|"
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
)
# Ends a sentence only before a word that often starts a sentence and rarely a name: initials (but "I" is a word), other
# letters with full stops ("U.S.", "p.m."), and these abbreviations.
_UNSURE = re.compile(r"[A-HJ-Za-z]|(?:[A-Za-z]\.)+[A-Za-z]|Jr|Sr|Inc|Ltd|Co|Corp|Bros|Esq|etc|al|Ph\.D|[Aa]pprox")
_OPENER = re.compile(
    "(?:The|This|That|These|Those|An?|He|She|It|They|We|You|I|His|Her|Its|Their|Our|My|In|On|At|By|For|From|With|To|"
    "After|Before|During|When|While|As|If|Since|Because|Although|Though|But|And|Or|Nor|So|Then|There|Thus|However|"
    "Moreover|Both|Each|Some|Many|Most|Another|Not|No|What|Who|Where|Why|How|Also|Even|Yet|Here),? "
)
# The speaker after a question or exclamation in quotes. Pronouns other than "I" are in lower case and need no entry.
_SPEAKER = re.compile(
    r"(?:I|(?:(?:Mrs?|Miss|Dr|Lady|Lord|Sir)\.? )?[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)?) (?:said|says|asked|cried|exclaimed|"
    "inquired|enquired|answered|replied|repeated|whispered|demanded|murmured|muttered|suggested|continued|echoed|"
    r"remarked|returned|shouted|called|pursued|observed|persisted|interrupted|ejaculated|responded|queried)\b"
)
_NUMBER = re.compile(r"[(\[]?(?:\d{1,3}|[IVX]{1,4})")


def _ends(line: str, start: int, match: re.Match[str]) -> bool:
    """Whether the sentence from `start` ends at this match."""
    if match["first"].islower():
        return False
    following = line[match.end() : match.end() + 60]
    if match["mark"] != "." or match["closers"]:
        in_quotes = match["mark"] != "." and match["closers"] and match["closers"] not in ")]"
        return not (in_quotes and _SPEAKER.match(following))
    word = line[max(start, line.rfind(" ", start, match.start()) + 1) : match.start()]
    if start + len(word) == match.start() and _NUMBER.fullmatch(word):
        return False  # "2. The second": the number of a list item does not end a sentence
    word = word.lstrip("\"'“‘«([")
    if _TITLE.fullmatch(word) or (_NUMBERED.fullmatch(word) and match["first"].isdigit()):
        return False
    return not _UNSURE.fullmatch(word) or bool(_OPENER.match(following.lstrip("\"'“‘«([")))

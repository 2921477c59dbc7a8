"""Splitting paragraphs into sentences: each rule, labeled text, real text, and adversarial text."""

import pytest

from train.data.sources import split_sentences

# Each line is a paragraph, which has to be split at the bars.
LABELED = """
Dr. Mary Poole met the Rev. A. J. Finch at 3 p.m. on Mt. Hood. | They praised St. Ives and Messrs. Holt & Co. and tea.
The U.S. Army left. | It moved to the U.S. | In May the D.C. Council met, as it does in D.C. | The council voted.
See Fig. 3, Vol. 2, pp. 4, No. 5 and Eq. 6 for details. | No. | Then why ask?
"Is it late?" Mary asked. | "No," he said. | "Go to bed!" | She went.
"Where were you?" I asked. | "At home!" Mr. Crane answered, e.g. in bed. | He lied.
"What?" she whispered. | "Why?" | Nobody knew.
'Good!' said Tom. | 'Let us go.' | And they did (as always). | [No one saw.]
It rose 3.5 percent to 1,200.50 dollars in the 1990s. | 12 firms gained. | Was that... enough? | Wait… | Yes.
Visit www.example.com or https://example.org/a.html?b=C. | It is free, i.e. without cost, a.k.a. gratis.
He owned cows, sheep, etc. | The farm of Smith Jr. and Holt Bros. Ltd. was sold to Acme Inc. | It paid.
Brown v. Board and Ali vs. Frazier are known, cf. Stone et al. 2003. | However, few read them.
We need vitamin C. | The others are less needed, as J. R. R. Tolkien did not write.
Born on Jan. 5, c. 1400, he died approx. 60 years later. | So did I. | Then nothing.
1. Break two eggs. | 2. Stir. | IV. Serve.
The word "end." | Another said "stop!" and "go!" in turn. | <unk> agreed. | $5 is enough. | Ärger blieb. und so weiter.
He came at 8 a.m. | The bus had left at 7 a.m. Eastern Time with Gen. Lee and Capt. Ahab.
"""
PARAGRAPHS = [[sentence.strip() for sentence in line.split("|")] for line in LABELED.strip().splitlines()]


@pytest.mark.parametrize("sentences", PARAGRAPHS, ids=lambda sentences: sentences[0][:20])
def test_split_sentences_on_labeled_paragraphs(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["One sentence only"],
        ["I met Mr. Reed and J. R. Smith.", "They left."],
        ['"Go!"', "And she went."],
        ['"Is it?"', '"Yes."', "(So it was.)", "[Then nothing.]"],
        ["So did I.", "Then he went."],
        ["See No. 5.", "No.", "Then go."],
        ["It cost 3.50 euros.", "12 came."],
        ["e.g. this and that etc. are fine, www.example.com too."],
        ["Всё т. е. ничего.", "Да."],
        ["Wait… Yes, wait."[:5], "Yes, wait."],
        ["Édouard came.", "Élise left."],
    ],
)
def test_split_sentences_finds_the_ends(sentences):
    assert split_sentences("  " + "  ".join(sentences) + " ") == sentences


def test_split_sentences_knows_full_stops_without_spaces():
    assert split_sentences("你好。我很好！对") == ["你好。", "我很好！", "对"]
    assert split_sentences(" ") == []


def test_split_sentences_loses_nothing(shared_data):
    """The sentences of real paragraphs concatenate to the text."""
    lines = (shared_data / "pretrain" / "wiki" / "squad_dev_articles.txt").read_text(encoding="utf-8").splitlines()
    cut = [split_sentences(line) for line in lines]
    for line, sentences in zip(lines, cut, strict=True):
        assert "".join("".join(sentences).split()) == "".join(line.split())
    assert 3 < sum(map(len, cut)) / sum(map(bool, cut)) < 8  # Wikipedia paragraphs


@pytest.mark.timeout(120)
def test_split_sentences_stays_linear():
    """A megabyte of initials has no end of a sentence; looking back over all of them at each would take an hour."""
    for hostile in ("J. " * 300_000, '. "' * 300_000, "?' I I said " * 80_000):
        assert " ".join(split_sentences(hostile)) == hostile.strip()

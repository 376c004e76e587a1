"""The corpus's sentences, and the voices of espeak-ng that speak them."""

from __future__ import annotations

from numpy.random import Generator

VOICES = (
    "en-us", "en-us", "en-gb", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc",
    "de", "fr-fr", "es", "es-419", "it", "pt", "pt-br", "nl", "sv", "da", "nb", "fi", "pl", "cs",
    "ro", "hu", "tr", "id", "sw", "cy", "eo", "la", "is", "lv", "hr", "sq", "mt", "eu", "et", "vi",
)  # fmt: skip
SPEAKERS = (
    "", "", "", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5",
    "Alicia", "Andrea", "Annie", "Diogo", "Gene", "Hugo", "Lee", "Marco", "Michael", "Mike",
    "adam", "anika", "belinda", "benjamin", "boris", "david", "ed", "linda", "max", "pablo",
    "quincy", "rob", "shelby", "steph", "victor", "whisper", "grandma", "grandpa",
)  # fmt: skip
ENGLISH = {
    "who": (
        "the old sailor", "a young teacher", "my neighbour", "the orchestra", "nobody", "everyone",
        "the gardener", "a tired baker", "our cousin George", "the judge", "she", "your engineer",
    ),
    "does": (
        "heard", "measured", "forgot", "bought", "whispered about", "photographed", "judged",
        "carried", "explained", "watched", "enjoyed", "thought through", "fixed", "chose",
    ),
    "what": (
        "the yellow bicycle", "fourteen fresh oranges", "a strange question", "the third window",
        "every broken chair", "a jar of honey", "the weather in Zurich", "those quiet mornings",
        "a very long bridge", "the church bells", "some rough sketches", "both of the judges' hats",
    ),
    "when": (
        "before breakfast", "on Thursday evening", "while the rain fell", "in the spring",
        "after the show", "for a whole year", "at five past six", "without a reason", "as usual",
    ),
}  # fmt: skip
ONSETS = ("", "b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "st", "tr",
          "kl", "br", "sp")  # fmt: skip
NUCLEI = ("a", "e", "i", "o", "u", "a", "e", "o", "ai", "au", "ei")
CODAS = ("", "", "", "n", "r", "s", "l", "t", "m", "k")


def random_text(rng: Generator, language: str) -> str:
    """One sentence: English from templates, otherwise invented words and numbers."""
    if language.startswith("en"):
        who, does, what, when = (str(rng.choice(words)) for words in ENGLISH.values())
        if rng.random() < 0.2:
            return f"{rng.integers(2, 9999)}! Is it true that {who} {does} {what}?"
        return f"{who} {does} {what} {when}.".capitalize()
    words = []
    for _ in range(int(rng.integers(4, 10))):
        if rng.random() < 0.15:
            words.append(str(rng.integers(2, 2000)))
            continue
        syllables = [
            str(rng.choice(ONSETS)) + str(rng.choice(NUCLEI)) + str(rng.choice(CODAS))
            for _ in range(int(rng.integers(1, 4)))
        ]
        words.append("".join(syllables))
    return " ".join(words).capitalize() + "."

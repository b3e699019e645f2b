"""Sentence pairs of English and an invented language, from a seeded grammar.

The invented language, here called Taluvi, differs from English as real languages do:

    order         subject, place, object, verb; time words first; "du" closes a relative clause,
                  which stands before its subject; "ke" at the end asks
    noun phrase   determiner, noun, adjectives in mirrored order; no word for "a" and "some"
    gender        every noun ends in its gender's vowel (a or o); determiners and adjectives agree
    number        -i marks the plural on noun, determiner and adjective, -l on the verb
    case          -n marks the object and -s the place, on the noun alone
    verb          [ne-, not] stem, tense (-e present, -u past, -ir future), in the past the
                  subject's gender (as in "she came" of many languages), -l for a plural subject
    ambiguity     English "bat", "mouse", "crane" (animal or thing) and "play", "know" (two verbs
                  each) have two translations; what the verb demands of its subject and object
                  decides, and the grammar makes no sentence where it does not

"will this old bat that saw a man not leave some red foxes soon ?" has all of it:
"peshir dorvon vidua du ka lurfa vesha zirkain rustai nechavir ke ?".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from numpylm.tasks.dataset import Pair

STREAM = 303


class Noun(NamedTuple):
    """Two English forms, the invented stem, its gender (a or o) and what kind of thing it is."""

    singular: str
    plural: str
    stem: str
    gender: str
    kind: str


class Verb(NamedTuple):
    """Three English forms, the invented stem, the kinds of its subject and object (- if none)."""

    base: str
    third: str
    past: str
    stem: str
    subjects: str
    objects: str


NOUNS = tuple(
    Noun(*line.split())
    for line in """
    man men dorv o person
    woman women selm a person
    child children pik o person
    teacher teachers onsh a person
    farmer farmers grat o person
    king kings valt o person
    doctor doctors hemd a person
    dog dogs keb o animal
    cat cats mish a animal
    horse horses durg o animal
    bird birds tiv a animal
    wolf wolves ugr o animal
    fox foxes zirk a animal
    bat bats lurf a animal
    mouse mice nib o animal
    crane cranes shev a animal
    bat bats tokk o tool
    mouse mice klid a tool
    crane cranes brun o tool
    lamp lamps fol a tool
    knife knives rask o tool
    chair chairs sund a tool
    box boxes pomb o tool
    drum drums dab o music
    violin violins yil a music
    flute flutes wiv a music
    game games jorl a sport
    match matches fent o sport
    apple apples mal a food
    berry berries hask o food
    loaf loaves bakr a food
    garden gardens elg o place
    house houses tamb a place
    forest forests morv a place
    market markets chul o place
    village villages oplen a place
    """.strip().splitlines()
)

VERBS = tuple(
    Verb(*line.split())
    for line in """
    sleep sleeps slept zun person,animal -
    laugh laughs laughed haf person -
    wait waits waited lomp person,animal -
    see sees saw vid person,animal person,animal,tool,music,food,place
    find finds found trov person,animal person,animal,tool,music,food,place
    feed feeds fed nosk person animal
    wake wakes woke girt person person,animal
    chase chases chased pegr animal person,animal
    carry carries carried humb person tool,music,food
    break breaks broke krak person tool,music
    buy buys bought sold person tool,music,food,place
    eat eats ate yam person,animal food
    play plays played dinl person music
    play plays played spor person sport
    win wins won gwint person sport
    know knows knew amik person person,animal
    know knows knew wesk person sport,place
    leave leaves left chav person,animal person,animal,place
    """.strip().splitlines()
)

ADJECTIVES = {
    "small": "mir", "big": "gond", "old": "vesh", "young": "yun", "red": "rust", "white": "albr",
    "quiet": "shul", "good": "bev", "strange": "kwor",
}  # fmt: skip
DETERMINERS = (("the", "the", "t"), ("a", "some", ""), ("this", "these", "k"))
TIMES = {
    "past": (("yesterday", "miru"), ("last week", "sottu")),
    "present": (("now", "enim"), ("every day", "dorim")),
    "future": (("tomorrow", "velir"), ("soon", "peshir")),
}
TENSES = {"present": "e", "past": "u", "future": "ir"}


class Phrase(NamedTuple):
    """A noun phrase in both languages, and what a verb agrees with or chooses by."""

    english: str
    target: str
    plural: bool
    gender: str
    kind: str


def generate_pairs(count: int, seed: int) -> list[Pair]:
    """``count`` pairs with different sources, in the order drawn."""
    rng = np.random.default_rng([STREAM, seed])
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        english, target = sentence(rng)
        pairs[english] = target
    return [Pair(*pair) for pair in pairs.items()]


def sentence(rng: np.random.Generator) -> tuple[str, str]:
    """One sentence in both languages, tokens with one blank between them."""
    verb, tense = _pick(rng, VERBS), _pick(rng, tuple(TENSES))
    asks, denies = rng.random() < 0.15, rng.random() < 0.2
    subject = noun_phrase(rng, verb.subjects)
    clause = relative_clause(rng, subject) if rng.random() < 0.2 else ("", "")
    thing = noun_phrase(rng, verb.objects, "n")[:2] if verb.objects != "-" else ("", "")
    place = noun_phrase(rng, "place", "s")[:2] if rng.random() < 0.25 else ("", "")
    time = _pick(rng, TIMES[tense]) if rng.random() < 0.3 else ("", "")
    auxiliary, main = english_verb(verb, tense, subject.plural, asks or denies)
    before, after = (auxiliary, "") if asks else ("", auxiliary)
    english = (
        before, subject.english, clause[0], after, "not" if denies else "", main, thing[0],
        "in" if place[0] else "", place[0], time[0], "?" if asks else ".",
    )  # fmt: skip
    inflected = ("ne" if denies else "") + target_verb(verb, tense, subject)
    end = "ke ?" if asks else "."
    target = (time[1], clause[1], subject.target, place[1], thing[1], inflected, end)
    return " ".join(filter(None, english)), " ".join(filter(None, target))


def noun_phrase(rng: np.random.Generator, kinds: str, case: str = "") -> Phrase:
    """Determiner, up to two adjectives and a noun of one of these kinds (``person,animal``)."""
    noun, plural = _pick(rng, nouns_of(kinds)), bool(rng.random() < 0.4)
    singular_word, plural_word, stem = _pick(rng, DETERMINERS)
    chance = rng.random()
    count = 0 if chance < 0.55 else 1 if chance < 0.88 else 2
    order = rng.permutation(len(ADJECTIVES))[:count] if count else ()
    adjectives = [tuple(ADJECTIVES)[i] for i in order]
    words = [*adjectives, noun.plural if plural else noun.singular]
    determiner = plural_word if plural else singular_word
    determiner = "an" if determiner == "a" and words[0][0] in "aeiou" else determiner
    ending = noun.gender + ("i" if plural else "")
    agreeing = [ADJECTIVES[a] + ending for a in reversed(adjectives)]
    target = [*([stem + ending] if stem else []), noun.stem + ending + case, *agreeing]
    return Phrase(" ".join([determiner, *words]), " ".join(target), plural, noun.gender, noun.kind)


def relative_clause(rng: np.random.Generator, head: Phrase) -> tuple[str, str]:
    """ "that sees the dog", and the same closed by "du", for a subject like ``head``."""
    fitting = [v for v in VERBS if head.kind in v.subjects.split(",") and v.objects != "-"]
    verb, tense = _pick(rng, fitting), _pick(rng, ("present", "past"))
    thing = noun_phrase(rng, verb.objects, "n")
    _, main = english_verb(verb, tense, head.plural, auxiliary=False)
    return f"that {main} {thing.english}", f"{thing.target} {target_verb(verb, tense, head)} du"


@lru_cache
def nouns_of(kinds: str) -> tuple[Noun, ...]:
    """The nouns of these kinds whose English word has one meaning among them."""
    fitting = [n for n in NOUNS if n.kind in kinds.split(",")]
    words = [n.singular for n in fitting]
    return tuple(n for n in fitting if words.count(n.singular) == 1)


def english_verb(verb: Verb, tense: str, plural: bool, auxiliary: bool) -> tuple[str, str]:
    """(auxiliary or "", main verb); questions, "not" and the future need the auxiliary."""
    if auxiliary or tense == "future":
        present = "do" if plural else "does"
        return {"present": present, "past": "did", "future": "will"}[tense], verb.base
    return "", verb.past if tense == "past" else verb.base if plural else verb.third


def target_verb(verb: Verb, tense: str, subject: Phrase) -> str:
    """Stem, tense, in the past the subject's gender, and its number."""
    gender = subject.gender if tense == "past" else ""
    return verb.stem + TENSES[tense] + gender + ("l" if subject.plural else "")


def _pick(rng: np.random.Generator, items: Any) -> Any:
    return items[int(rng.random() * len(items))]  # ten times as fast as rng.choice

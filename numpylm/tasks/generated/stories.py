"""Short stories with a question whose answer is a span of the story.

People move between places, take things, drop them and give them away. What is asked depends on

    1 fact     where is anna ?                        her last move
    2 facts    where is the lamp ?                    who has or had it, and where that was
    3 facts    where was the lamp before the attic ?  the same, one place earlier

The answer is the place's mention in the sentence that tells it: the last move that brought the
person, the thing, or somebody who then held the thing to that place. Other people and other things
stand in between. The idea of questions by the number of facts is that of Weston et al. 2015,
arXiv:1502.05698; words, grammar and generator are our own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numpylm.tasks.dataset import Question

STREAM = 304
PEOPLE = ("anna", "ben", "clara", "david", "emma", "felix", "grace", "henry")
THINGS = ("lamp", "apple", "book", "key", "ball", "letter", "coat", "violin")
PLACES = (
    "kitchen", "garden", "library", "office", "attic", "school", "old mill", "train station",
    "market square", "living room",
)  # fmt: skip
MOVES = ("went to", "walked to", "ran to", "moved to", "hurried back to")
TAKES = ("took", "picked up", "grabbed")
DROPS = ("dropped", "put down", "left")
GIVES = ("gave", "handed", "passed")
LENGTHS = {1: (2, 8), 2: (3, 10), 3: (5, 12)}  # sentences of a story, by the number of facts


class Mention(NamedTuple):
    """A place, and the number of its first word in the story."""

    start: int
    place: str


class Story:
    """The words so far, and the state of the world that they tell."""

    def __init__(self, people: list[str], things: list[str]) -> None:
        self.words: list[str] = []
        self.where: dict[str, Mention] = {}  # the last move of each person who has moved
        self.holder: dict[str, str] = {}
        self.history: dict[str, list[Mention]] = {}  # where each thing has been, in order
        self.people, self.things = people, things

    def move(self, person: str, verb: str, place: str) -> None:
        """The person, and all that the person holds, comes to the place."""
        mention = Mention(len(self.words) + 2 + len(verb.split()), place)
        self._tell(person, verb, "the", place)
        self.where[person] = mention
        for thing, holder in self.holder.items():
            if holder == person:
                self.history[thing].append(mention)

    def take(self, person: str, verb: str, thing: str) -> None:
        """The thing, which nobody holds, is the person's; so it is where the person is."""
        self._tell(person, verb, "the", thing)
        self._hand_over(thing, person)

    def drop(self, person: str, verb: str, thing: str) -> None:
        """The thing stays where the person is now."""
        self._tell(person, verb, "the", thing)
        del self.holder[thing]

    def give(self, person: str, verb: str, thing: str, other: str) -> None:
        """The thing goes to another person at the same place."""
        self._tell(person, verb, "the", thing, "to", other)
        self._hand_over(thing, other)

    def can_take(self, person: str) -> list[str]:
        """Things that lie at the person's place, or that no sentence has placed yet."""
        place = self.where[person].place if person in self.where else None
        free = [thing for thing in self.things if thing not in self.holder] if place else []
        return [t for t in free if t not in self.history or self.history[t][-1].place == place]

    def _tell(self, *phrases: str) -> None:
        self.words += [*" ".join(phrases).split(), "."]

    def _hand_over(self, thing: str, person: str) -> None:
        """Of two sentences that tell the same place, the later one is kept."""
        here = self.where[person]
        before = self.history.get(thing, [here])
        self.history[thing] = [*before[:-1], max(before[-1], here)]
        self.holder[thing] = person


def generate_questions(count: int, seed: int, facts: tuple[int, ...] = (1, 2, 3)) -> list[Question]:
    """``count`` questions on different stories, the numbers of facts in turn."""
    rng = np.random.default_rng([STREAM, seed])
    questions: dict[str, Question] = {}
    while len(questions) < count:
        kind = facts[len(questions) % len(facts)]
        story = tell_story(rng, int(rng.integers(*LENGTHS[kind], endpoint=True)))
        asked = questions_about(story, kind)
        text = " ".join(story.words)
        if asked and text not in questions:
            question, mention = _pick(rng, asked)
            end = mention.start + len(mention.place.split())
            questions[text] = Question(question, text, mention.start, end)
    return list(questions.values())


def tell_story(rng: np.random.Generator, sentences: int) -> Story:
    """A story of two or three people and two things."""
    people = [PEOPLE[i] for i in rng.permutation(len(PEOPLE))[: int(rng.integers(2, 4))]]
    story = Story(people, [THINGS[i] for i in rng.permutation(len(THINGS))[:2]])
    for _ in range(sentences):
        _continue(rng, story, _pick(rng, people))
    return story


def questions_about(story: Story, facts: int) -> list[tuple[str, Mention]]:
    """All questions that need this number of facts, with the mention that answers them."""
    if facts == 1:
        return [(f"where is {person} ?", mention) for person, mention in story.where.items()]
    if facts == 2:
        return [(f"where is the {thing} ?", past[-1]) for thing, past in story.history.items()]
    asked = []
    for thing, past in story.history.items():
        last = past[-1].place
        if len(past) > 1 and [m.place for m in past].count(last) == 1:  # "before" is unambiguous
            asked.append((f"where was the {thing} before the {last} ?", past[-2]))
    return asked


def _continue(rng: np.random.Generator, story: Story, person: str) -> None:
    """One more sentence about the person: a move, or half the time another possible deed."""
    held = [thing for thing, holder in story.holder.items() if holder == person]
    here = story.where[person].place if person in story.where else None
    others = [p for p in story.people if p != person and p in story.where]
    others = [p for p in others if story.where[p].place == here]
    free, chance = story.can_take(person), rng.random()
    if free and chance < 0.45:
        story.take(person, _pick(rng, TAKES), _pick(rng, free))
    elif held and others and chance < 0.6:
        story.give(person, _pick(rng, GIVES), _pick(rng, held), _pick(rng, others))
    elif held and chance < 0.2:
        story.drop(person, _pick(rng, DROPS), _pick(rng, held))
    else:
        place = _pick(rng, [p for p in PLACES if p != here])
        story.move(person, _pick(rng, MOVES), place)


def _pick(rng: np.random.Generator, items: Any) -> Any:
    return items[int(rng.random() * len(items))]  # ten times as fast as rng.choice

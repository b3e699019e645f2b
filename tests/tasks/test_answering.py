"""§3.3 Questions: every answer follows from its story, by a simulation that shares no code."""

import json
import re

import pytest

from numpylm.tasks import answering
from numpylm.tasks.answering import locate
from numpylm.tasks.dataset import Dataset, Question
from numpylm.tasks.generated import stories

MOVE = re.compile(r"(\w+) (?:went|walked|ran|moved|hurried back) to the (.+) \.")
TAKE = re.compile(r"(\w+) (?:took|picked up|grabbed) the (\w+) \.")
DROP = re.compile(r"(\w+) (?:dropped|put down|left) the (\w+) \.")
GIVE = re.compile(r"(\w+) (?:gave|handed|passed) the (\w+) to (\w+) \.")


@pytest.fixture
def dataset(load_default):
    return load_default("answering")


def read_story(story):
    """After each sentence: the move that it tells, who holds what, and where the things are."""
    states, where, holder, start = [], {}, {}, 0
    for sentence in re.findall(r"[^.]+\.", story):
        sentence, moved = sentence.strip(), None
        if match := MOVE.fullmatch(sentence):
            person, place = match.groups()
            assert where.get(person) != place, "nobody moves to where they are"
            where[person] = place
            place_start = start + len(sentence.split()) - 1 - len(place.split())
            moved = (person, place, place_start)
        elif match := TAKE.fullmatch(sentence):
            person, thing = match.groups()
            assert thing not in holder, "nobody takes what somebody holds"
            last = states[-1]["thing at"].get(thing) if states else None
            assert last in (None, where[person]), "nobody takes what is elsewhere"
            holder[thing] = person
        elif match := DROP.fullmatch(sentence):
            person, thing = match.groups()
            assert holder.pop(thing) == person
        else:
            person, thing, other = GIVE.fullmatch(sentence).groups()
            assert holder[thing] == person
            assert where[person] == where[other], "things change hands at one place"
            holder[thing] = other
        at = dict(states[-1]["thing at"]) if states else {}
        at |= {thing: where[person] for thing, person in holder.items()}
        states.append({"moved": moved, "holder": dict(holder), "thing at": at})
        start += len(sentence.split())
    return states


def stays(states, thing):
    """[(place, first, last)] of the sentences during which the thing was at a place."""
    found = []
    for i, state in enumerate(states):
        place = state["thing at"].get(thing)
        if place is not None and (not found or found[-1][0] != place):
            found.append([place, i, i])
        elif place is not None:
            found[-1][2] = i
    return found


def telling_move(states, thing, stay):
    """The last move to the place by somebody who holds the thing there, before holding it."""
    place, first, last = stay
    starts = []
    for i in range(first, last + 1):
        person = states[i]["holder"].get(thing)
        moves = [s["moved"] for s in states[: i + 1] if s["moved"] and s["moved"][0] == person]
        if moves and moves[-1][1] == place:
            starts.append(moves[-1][2])
    return max(starts)


def answer(question, story):
    states = read_story(story)
    if match := re.fullmatch(r"where is (\w+) \?", question):
        moves = [s["moved"] for s in states if s["moved"] and s["moved"][0] == match[1]]
        return moves[-1][1], moves[-1][2]
    if match := re.fullmatch(r"where is the (\w+) \?", question):
        past = stays(states, match[1])
        return past[-1][0], telling_move(states, match[1], past[-1])
    thing, place = re.fullmatch(r"where was the (\w+) before the (.+) \?", question).groups()
    past = stays(states, thing)
    assert [stay[0] for stay in past].count(place) == 1
    assert past[-1][0] == place
    return past[-2][0], telling_move(states, thing, past[-2])


def test_every_answer_follows_from_its_story(dataset):
    for question in dataset.train[:3000] + dataset.valid + dataset.test:
        place, start = answer(question.question, question.story)
        assert (question.answer, question.start) == (place, start), question


def test_no_story_is_in_two_parts(dataset):
    assert dataset.counts == {"train": 10_000, "valid": 500, "test": 500}
    texts = [q.story for q in dataset.train + dataset.valid + dataset.test]
    assert len(set(texts)) == len(texts)


def test_the_numbers_of_facts_take_turns(dataset):
    kinds = [("before" in q.question) + ("the" in q.question.split()) for q in dataset.test]
    assert [kinds.count(k) for k in range(3)] in ([167, 167, 166], [166, 167, 167], [167, 166, 167])
    only = answering.load(facts=(3,), sizes=(20, 5, 5))
    assert all(" before " in q.question for q in only.train + only.valid + only.test)


def test_stories_have_every_deed(dataset):
    text = " ".join(q.story for q in dataset.train[:500])
    for verb in (*stories.MOVES, *stories.TAKES, *stories.DROPS, *stories.GIVES):
        assert f" {verb} " in text
    assert max(len(q.story.split()) for q in dataset.train) < 120


def test_seeds_repeat_and_differ():
    sizes = (30, 5, 5)
    first = answering.load(sizes=sizes, seed=1)
    assert first.sha256 == answering.load(sizes=sizes, seed=1).sha256
    assert first.sha256 != answering.load(sizes=sizes, seed=2).sha256
    with pytest.raises(ValueError, match=r"facts=\(4,\) are not some of 1, 2, 3"):
        answering.load(facts=(4,))


def test_the_baselines_are_far_from_right(dataset):
    figures = answering.baselines(dataset)
    assert list(figures) == ["most frequent answer", "last answer in the story"]
    assert 0.05 < figures["most frequent answer"] < 0.2
    assert 0.2 < figures["last answer in the story"] < 0.45


def test_baselines_on_figures_worked_out_by_hand():
    train = [locate("?", "a b c", answer) for answer in ("a", "a", "b", "b c")]
    test = [
        locate("?", "a x", "a"),  # frequent and last
        locate("?", "b c a b c x", "b c"),  # last: the longer of two that end together
        locate("?", "a b", "a"),  # frequent
        locate("?", "x y", "y"),  # none
    ]
    assert answering.baselines(Dataset("x", train, [], test)) == {
        "most frequent answer": 0.5,
        "last answer in the story": 0.5,
    }


def test_scores():
    scored = answering.score(["old mill", "kitchen"], ["the old mill", "kitchen"])
    assert scored["exact_match"] == 0.5
    assert scored["token_f1"] == pytest.approx((4 / 5 + 1) / 2)


def test_the_official_scores_do_not_see_case_articles_and_punctuation():
    """As evaluate-v1.1.py of SQuAD: worked out by hand."""
    scored = answering.score(["The old-mill !", "an anvil a b"], ["old mill", "Anvil c"])
    assert list(scored) == ["exact_match", "token_f1", "squad_exact_match", "squad_f1"]
    assert scored["exact_match"] == scored["squad_exact_match"] == 0.0  # "oldmill"
    assert scored["squad_f1"] == pytest.approx((0 + 2 * 1 / (2 + 2)) / 2)
    scored = answering.score(["the old mill ."], ["Old mill"])
    assert (scored["exact_match"], scored["squad_exact_match"]) == (0.0, 1.0)


def test_an_answer_is_found_in_its_story():
    question = locate("Where?", "She's at the Old Mill; the old mill.", "Old mill")
    assert question == Question("where ?", "she ' s at the old mill ; the old mill .", 5, 7)
    assert question.answer == "old mill"
    assert locate("谁?", "我們去公園", "公園").answer == "公 園"
    with pytest.raises(ValueError, match="the answer 'mills' is not a span"):
        locate("Where?", "The old mill.", "mills")


def test_files(tmp_path):
    rows = [(f"Who {i}?", f"It was X{i // 2}.", f"X{i // 2}") for i in range(200)]
    table = tmp_path / "q.tsv"
    table.write_text("\n".join("\t".join(row) for row in rows))
    keys = ("question", "story", "answer")
    lines = tmp_path / "q.jsonl"
    lines.write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows))
    dataset = answering.load(table)
    assert dataset.counts == {"train": 180, "valid": 10, "test": 10}
    parts = [{q.story for q in part} for part in (dataset.train, dataset.valid, dataset.test)]
    assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts)) == 100
    assert dataset.train == answering.load(lines).train
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.jsonl").write_text(lines.read_text())
    assert answering.load(tmp_path).counts == {"train": 200, "valid": 200, "test": 200}


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("q.tsv", "Who?\tIt was X.", r"q.tsv:2: expected 3 columns"),
        ("q.tsv", "Who?\tIt was X.\tY", r"q.tsv:2: the answer 'Y' is not a span of the story"),
        ("q.jsonl", "{", r"q.jsonl:2: expected a JSON object, not '{'"),
        ("q.jsonl", "[1]", r"q.jsonl:2: 'question' must be a text, not None"),
        ("q.jsonl", '{"question": "?", "story": "X", "answer": 3}', r"'answer' must be a .* not 3"),
        ("q.jsonl", '{"question": "?", "story": "X", "answer": "Y"}', r"q.jsonl:2: the answer 'Y'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, name, line, message):
    good = "?\tX\tX" if name == "q.tsv" else '{"question": "?", "story": "X", "answer": "X"}'
    path = tmp_path / name
    path.write_text(f"{good}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        answering.load(path)

"""Translation, from sentence pairs that are generated or read from files.

generated   English and an invented language (``generated/grammar.py``; default, no download)
FILE.tsv    source, target and perhaps more columns (such as Tatoeba's attribution), 90 : 5 : 5;
            all translations of one source are in one part
FOLDER      train.tsv, valid.tsv (val, dev), test.tsv; or one file for each part and language with
            line i of one translating line i of the other: train.de, train.en, val.de, ... (.gz)

Texts of files are lower-cased and split into words and punctuation, those with Chinese or Japanese
characters into single characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpylm.baselines.word_translation import train_word_table, translate_words
from numpylm.data.words import split_text
from numpylm.tasks.data_files import find_parts, load_files, read_lines, read_table
from numpylm.tasks.dataset import Dataset, Pair, TaskData
from numpylm.tasks.generated.grammar import generate_pairs
from numpylm.tasks.scores import accuracy, token_accuracy
from numpylm.tasks.text_to_text import PairTask

DEFAULT = "generated"
SIZES = (20_000, 500, 500)


def load(
    source: str | Path = DEFAULT,
    *,
    source_language: str | None = None,
    target_language: str | None = None,
    lower: bool = True,
    sizes: tuple[int, int, int] = SIZES,
    seed: int = 0,
) -> Dataset:
    """The sentence pairs of that name or path (see the module's table).

    The languages choose the files of a folder; without them, a folder with two languages
    translates from the alphabetically first. ``sizes`` are those of generated pairs. Raises
    ``ValueError`` with file and line for what cannot be read.
    """
    path, languages = Path(source), (source_language, target_language)
    if path.is_dir() and not any(p.name.startswith("train.tsv") for p in path.iterdir()):
        return _load_languages(path, _choose(path, languages), lower)
    if languages != (None, None):
        raise ValueError(f"only a folder with a file for each language has {languages} to choose")
    if str(source) == DEFAULT:
        pairs = generate_pairs(sum(sizes), seed)
        n, m = sizes[0], sizes[0] + sizes[1]
        return Dataset("translation", pairs[:n], pairs[n:m], pairs[m:])
    read = partial(read_table, columns=2, example=partial(_pair, lower=lower))
    return load_files(source, read, group=lambda pair: pair.source, seed=seed)


def baselines(dataset: Dataset) -> dict[str, float]:
    """The main score on the test part of copying the source, and of a learned dictionary."""
    sources, references = zip(*dataset.test, strict=True)
    table = train_word_table(dataset.train)
    answers = {
        "copy the source": sources,
        "word by word": [translate_words(table, text) for text in sources],
    }
    return {name: next(iter(score(a, references).values())) for name, a in answers.items()}


def score(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """BLEU (0 to 100) if sacrebleu is installed; exact match and token accuracy (0 to 1)."""
    simple = {
        "exact_match": accuracy(predictions, references),
        "token_accuracy": token_accuracy(predictions, references),
    }
    try:
        return {"bleu": bleu(predictions, references), **simple}
    except ValueError:
        return simple


def bleu(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU from 0 to 100 of texts that are split already; sacrebleu's, not our own.

    Raises ``ValueError`` if sacrebleu is not installed. Sources: Papineni et al. 2002, P02-1040;
    Post 2018, arXiv:1804.08771.
    """
    try:
        from sacrebleu import corpus_bleu
    except ImportError:
        raise ValueError("BLEU needs sacrebleu: pip install numpylm[scores]") from None
    scored = corpus_bleu(list(predictions), [list(references)], tokenize="none", force=True)
    return float(scored.score)


class Translation(PairTask):
    """A sentence to that of another language."""

    name = "translation"
    data = TaskData(load, baselines, score)
    default = DEFAULT
    reads = ("source_language", "target_language", *PairTask.reads)

    @classmethod
    def read(cls, settings: Any) -> Dataset:
        """The sentence pairs of the settings' corpus, in their languages if there are any."""
        if not settings.source_language:
            return super().read(settings)
        return cls.data.load(
            settings.corpus, source_language=settings.source_language,
            target_language=settings.target_language,
        )  # fmt: skip


def _pair(source: str, target: str, lower: bool) -> Pair:
    return Pair(split_text(source, lower), split_text(target, lower))


def _choose(folder: Path, languages: tuple[str | None, str | None]) -> tuple[str, str]:
    """The two languages to read; ``ValueError`` names those that the folder has."""
    names = [p.name.removesuffix(".gz") for p in folder.iterdir() if p.name.startswith("train")]
    found = sorted({name.rpartition(".")[2] for name in names if "." in name})
    first, second = languages
    if first is None and second is None and len(found) == 2:
        return found[0], found[1]
    if first not in found or second not in found or first == second:
        raise ValueError(
            f"folder {folder} has the languages {', '.join(found) or 'none'} (train.LANGUAGE): "
            f"choose two of them, not {first} and {second}"
        )
    return first, second


def _load_languages(folder: Path, languages: tuple[str, str], lower: bool) -> Dataset:
    sides = [find_parts(folder, (f".{language}",)) for language in languages]
    parts = []
    for first, second in zip(*sides, strict=True):
        sources, targets = _aligned_lines(first, lower), _aligned_lines(second, lower)
        if len(sources) != len(targets):
            raise ValueError(
                f"{first} has {len(sources)} lines but {second} has {len(targets)}: "
                "line i of one must translate line i of the other"
            )
        parts.append([Pair(*pair) for pair in zip(sources, targets, strict=True)])
    return Dataset(f"{folder.name} {languages[0]}-{languages[1]}", *parts)


def _aligned_lines(path: Path, lower: bool) -> list[str]:
    lines = [split_text(line, lower) for line in read_lines(path)]
    if "" in lines:
        raise ValueError(f"{path}:{lines.index('') + 1}: the line is empty")
    return lines

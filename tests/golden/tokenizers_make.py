"""Write ``tokenizers.json``: small tokenizers trained by Hugging Face's library, and their ids.

pip install tokenizers, then python -m tests.golden.tokenizers_make. The tests need only the file.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import tokenizers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from numpylm.data.split_patterns import SPLITS

FILE = Path(__file__).parent / "tokenizers.json"
TEXT = (
    "It's 2024 and we're reading: the newest, the lowest, the widest rivers of the world.\n"
    "The café opens at 7:30, says Zoë; they'll serve 1,234 cups.  Don't be late!\n\n"
    "  indented\tline with   blanks \nÜber naïve Ideen: 词元 and 词表, 分词。 ½ ² ५ 😀😀\n"
    "aaaa aaab aaba abababab the there then than that this those these\n"
) * 2
PARTS = [*"abc deABC 012.,!'\n\t\r", "'s", "'LL", " the", "  ", "\n\n", "é", "e\u0301", "\u00a0",
         "\u3000", "中", "词", "😀", "\x1c", "\x85", "ſ", "İ", "ß", "½", "²", "१", "\u200b",
         "[MASK]", "<|end|>", "##", "\ufeff", "K", "ǅ", "Straße ", "the widest ", "é​"]  # fmt: skip


def texts() -> list[str]:
    """Sixty texts of few and of many kinds of characters."""
    rng = random.Random(7)
    made = ["".join(rng.choices(PARTS, k=rng.randint(1, 25))) for _ in range(58)]
    return ["", TEXT[:200], *made]


def byte_level(pattern: str, size: int) -> Tokenizer:
    """BPE on bytes with one of our patterns, trained with all of the library's defaults."""
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern == "gpt2")
    cut = pre_tokenizers.Split(Regex(SPLITS[pattern]), "isolated")
    steps = [level] if pattern == "gpt2" else [cut, level]
    tokenizer.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"initial_alphabet": alphabet, "show_progress": False}
    tokenizer.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=size, **options))
    return tokenizer


def made() -> dict[str, Tokenizer]:
    """The tokenizers, by name."""
    found = {name: byte_level(name, 330) for name in SPLITS}
    llama = byte_level("llama3", 300)
    llama.add_special_tokens(["<|end|>"])
    llama.post_processor = processors.TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", llama.token_to_id("<|end|>"))]
    )
    llama.normalizer = normalizers.NFC()
    found["special"] = llama
    digits = byte_level("gpt2", 300)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), level])
    found["digits"] = digits
    for name, lowercase in (("uncased", True), ("cased", False)):
        bert = tokenizers.BertWordPieceTokenizer(lowercase=lowercase)
        bert.train_from_iterator([TEXT], vocab_size=160, show_progress=False)
        ends = [(token, bert.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        bert.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
        )
        found[name] = Tokenizer.from_str(bert.to_str())
    return found


def main() -> None:
    """Write the file."""
    rows = {}
    for name, tokenizer in made().items():
        ids = [tokenizer.encode(text).ids for text in texts()]
        rows[name] = {"file": json.loads(tokenizer.to_str()), "ids": ids}
    versions = {"tokenizers": tokenizers.__version__}
    data = {"versions": versions, "text": TEXT, "texts": texts(), "tokenizers": rows}
    FILE.write_text(json.dumps(data, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

"""The map of the book: for each section the one module that holds its formulas, and what serves it.

The first module of a section is its own and opens with its number; the others stand behind it. A
folder stands for those of its modules that no section names. What is named nowhere (the command
line, figures, files, processes, the book's own tools) belongs to no section. README prints the map
(``python -m tests.written``), and the gradient check's section column follows it.
"""

from __future__ import annotations

MAP: dict[str, tuple[str, ...]] = {
    "1.1": ("baselines/ngram.py",),
    "1.2": ("cost/energy.py", "cost/run_cost.py", "cost/memory.py", "pipelines/bias_probes.py"),
    "2.1": ("objectives/denoising.py", "tasks/denoising.py"),
    "2.2": (
        "models/seq2seq.py", "models/bert.py", "models/config.py", "tasks/architectures.py",
    ),
    "2.3": (
        "objectives/masked.py", "objectives/causal.py", "objectives/next_sentence.py",
        "layers/cross_entropy.py", "fast/cross_entropy.py", "baselines/neighbours.py",
        "tasks/pretraining.py", "tasks/masked.py", "tasks/next_sentence.py",
    ),
    "3.1": (
        "models/encoder.py", "layers/input_embedding.py", "layers/embedding.py",
        "layers/linear.py", "layers/layer_norm.py", "layers/residual.py", "layers/dropout.py",
        "layers/activations.py", "layers/feed_forward.py", "layers/gated_feed_forward.py",
        "layers/rms_norm.py", "layers/choices.py", "layers/", "fast/gelu.py",
    ),
    "3.2": ("models/decoder.py",),
    "3.3": (
        "objectives/fine_tuning.py", "models/heads.py", "tasks/", "data/documents.py",
        "data/pydoc.py", "data/special.py", "data/words.py", "baselines/bag_of_words.py",
        "baselines/word_translation.py", "generation/beam_search.py", "training/pretrained.py",
        "pipelines/predictor.py",
    ),
    "3.4": ("tasks/prompted.py",),
    "4.1": ("layers/attention.py", "layers/softmax.py", "layers/recurrent.py", "fast/attention.py"),
    "4.2": ("layers/multi_head.py", "layers/grouped_query.py"),
    "4.3": ("layers/positional.py", "layers/rotary.py"),
    "5.1": (
        "data/vocabulary.py", "data/corpus.py", "data/batches.py", "data/tokenized_corpus.py",
        "data/bpe.py", "data/split_patterns.py", "data/subword.py", "data/sentencepiece.py",
        "data/wordpiece.py", "data/tokenizer_json.py", "data/tokenizer_json_writer.py",
        "data/tokenizer_files.py",
    ),
    "5.2": (
        "models/gpt.py", "models/llama.py", "models/language_models.py",
        "training/train_config.py", "training/presets.py",
    ),
    "5.3": ("training/loop.py", "training/", "optim/", "cost/step_time.py"),
    "5.4": (
        "generation/sampling.py", "generation/kv_cache.py", "pipelines/language_model.py", "hub/",
    ),
    "6.1": ("models/counting.py",),
    "6.2": (
        "scaling/laws/power_laws.py", "scaling/laws/", "scaling/fit/fitting.py",
        "scaling/fit/objective.py", "scaling/fit/least_absolute.py", "scaling/fit/minimise.py",
        "scaling/fit/intervals.py", "scaling/fit/memory.py", "scaling/fit/synthetic.py",
    ),
    "6.3": ("scaling/fit/allocation.py", "scaling/fit/reconciliation.py"),
    "6.4": ("scaling/experiment/sweep.py", "scaling/experiment/"),
    "6.5": (
        "scaling/fit/prediction.py", "scaling/fit/fitted_law.py", "scaling/fit/remarks.py",
        "scaling/fit/run_table.py", "scaling/fit/runs.py", "scaling/fit/table_file.py",
        "scaling/fit/conditions.py", "scaling/fit/derived_columns.py", "scaling/report/",
    ),
    "6.6": ("objectives/exact_match.py",),
    "A": ("gradcheck/check.py", "gradcheck/", "parameters.py"),
}  # fmt: skip


def section_of(module: str) -> str:
    """The section that a module such as ``numpylm.layers.softmax`` serves; "" if it is none's."""
    path = module.removeprefix("numpylm.").replace(".", "/") + ".py"
    named = {place: section for section, places in MAP.items() for place in places}
    folder = next((place for place in named if place.endswith("/") and path.startswith(place)), "")
    return named.get(path) or named.get(folder, "")

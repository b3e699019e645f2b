"""What the commands say: before a run, after it, and for a prediction."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from numpylm.gradcheck.audit import AuditRow
from numpylm.pipelines.language_model import load
from numpylm.training.trainer import Trainer


def introduce(trainer: Trainer) -> None:
    """Say what is about to be trained, and on what."""
    c = trainer.config
    print(
        f"{trainer.run.folder}: {trainer.theta.size:,} parameters ({c.n_layers} layers, "
        f"{c.n_heads} heads, d_model {c.d_model}, context {c.context}), "
        f"vocabulary {trainer.task.model.vocab_size:,}\n{trainer.task.describe()}",
        flush=True,
    )
    noise = [f"dropout {c.dropout:g}"] * (c.dropout > 0)
    if smoothing := trainer.task.training_settings().get("label_smoothing"):
        noise.append(f"label smoothing {smoothing:g}")
    if noise:
        print(f"the training loss is one with {' and '.join(noise)}, the validation loss without")


def print_losses(trainer: Trainer) -> None:
    """The loss of a language model beside those of the n-grams, and what it writes."""
    run, folder = trainer.run, trainer.run.folder
    unit, windows = run.config.tokenizer, (run.corpus["valid_tokens"] - 1) // run.config.context
    print(f"\nvalidation loss, nats per {unit} (all {windows:,} windows of {run.config.context}):")
    for name, loss in [*run.baselines.items(), ("this model", run.metrics[-1]["val_loss"])]:
        print(f"  {name:<11} {loss:.4f}   perplexity {perplexity(loss):,.2f}")
    print(f"\na sample:\n{load(folder).generate(tokens=300, seed=run.config.seed)}")
    print(f"\nloss curve: {folder / 'loss.png'}\nmore text:  numpylm generate {quoted(folder)}")


def final_scores(trainer: Trainer) -> dict[str, dict[str, float]]:
    """The scores of a trained model on validation and, if there is one, test examples."""
    scores = {}
    with trainer.parallel() as parallel:
        for split in ("valid", "test"):
            if trainer.task.has(split):
                scores[split] = trainer.task.measure(parallel, split)
                scores[split] |= trainer.task.scores(parallel, split)
    return scores


def print_scores(trainer: Trainer, results: dict[str, dict[str, dict[str, float]]]) -> None:
    """A line for each model and split, and the baselines in the unit of the first score."""
    splits = next(iter(results.values()))
    scored = splits.get("test", splits["valid"])
    main = next((name for name in scored if name != "loss"), "loss")
    print(f"\n{trainer.config.objective}, {trainer.task.summary['name']}:")
    for name, splits in results.items():
        for split, scores in splits.items():
            figures = "   ".join(f"{n} {figure(v)}" for n, v in scores.items())
            print(f"  {name:<13} {split:<6} {figures}")
    for name, value in trainer.run.baselines.items():
        print(f"  {name:<20} {main} {value:.4f}")
    folder = trainer.run.folder
    name = quoted(folder)
    use = f"generate {name}" if trainer.task.language_model else f"predict {name} …"
    print(f"\nloss curve: {folder / 'loss.png'}\nuse it:     numpylm {use}")


def print_evaluation(
    what: str, figures: dict[str, Any], others: dict[str, float], unit: str
) -> None:
    """A loss in nats and in bits, the perplexity, and the task's own scores."""
    print(f"{what}: {figures['loss']:.4f} nats per {unit}, ", end="")
    if figures["perplexity"] is not None:
        print(f"perplexity {figures['perplexity']:,.3f}, ", end="")
    print(f"{figures['bits_per_token']:.4f} bits per {unit}")
    if "bits_per_byte" in figures:
        print(f"  {figures['bits_per_character']:.4f} bits per character, "
              f"{figures['bits_per_byte']:.4f} per byte: for models of other tokens")  # fmt: skip
    if "unknown" in figures:
        print(f"  {figures['unknown']:.1%} of the words are not known: <unk>")
    for name, value in others.items():
        print(f"  {name} {figure(value)}")


def print_samples(trainer: Trainer) -> None:
    """What an encoder-decoder writes for the first validation examples, with the reference."""
    with trainer.parallel() as parallel:
        for sample in trainer.task.samples(parallel):
            print(f"\n{sample}")


def print_cost(c: dict) -> None:
    """The figures of ``predict_cost``, a line each, with where they come from."""
    parts = ", ".join(f"{n} {v:,}" for n, v in c["parameters_by_part"].items() if v)
    print(f"{c['objective']} on {c['corpus']}, {c['steps']:,} steps: what it would cost here")
    print(f"parameters  {c['parameters']:,}: {parts}")
    print(f"FLOPs       {c['flops']:.3g} for {c['tokens']:,} tokens")
    parts = ", ".join(f"{n} {v:.0f}" for n, v in c["memory_by_part_mib"].items() if v >= 0.5)
    print(f"memory      {c['memory_mib']:,.0f} MiB: {parts}")
    if c["minutes"] is None:
        print("time        unknown: this machine has not as much memory free")
        return
    print(f"time        {c['minutes']:.1f} min: {1e3 * c['seconds_per_step']:.0f} ms a step "
          f"({c['gflops']:.1f} GFLOP/s, timed on {c['timed_steps']} steps), {c['evaluations']} "
          f"evaluations {c['evaluation_seconds']:.0f} s, data {c['setup_seconds']:.0f} s; "
          f"{c['processor_minutes']:.1f} min of processor time")  # fmt: skip
    power = "assumed: 12 a thread, 0.3725 a GB" if c["watts_assumed"] else "as given"
    print(f"energy      {1e3 * c['energy_kwh']:.3g} Wh: {c['watts']:.1f} W ({power}), "
          f"PUE {c['pue']:g}")  # fmt: skip
    print(f"CO2e        {c['co2_g']:.3g} g: {c['grid_g_per_kwh']:g} g/kWh")


def per_text(loss: float, tokens: int, text: str) -> dict[str, float]:
    """Bits per character and per byte of UTF-8: what models of different tokens compare by.

    The loss is the mean over the tokens that are predicted, all but the first; the first counts
    as one like them, since the text's bytes hold it too.
    """
    bits = loss / math.log(2) * tokens
    return {"bits_per_character": bits / len(text), "bits_per_byte": bits / len(text.encode())}


def figure(value: float) -> str:
    """A score with four digits, a number of things as it is."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def print_wrong(rows: list[AuditRow]) -> None:
    """The wrong rows of a gradient check, the lowest layer first with what is likely."""
    print(f"WRONG: {len(rows)}, the lowest layer first; mend that one and check again")
    for row in rows:
        print(f"  {row.name}" + (f": {row.failure}" if row.failure else ""))
        for cause in row.causes:
            print(f"    {cause}")


def perplexity(loss: float) -> float:
    """exp(loss), or infinity where that is too large for a float."""
    return math.exp(loss) if loss < 700 else math.inf


def quoted(folder: Path) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(folder))

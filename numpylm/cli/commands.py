"""What the commands do; ``parser.py`` says what they take. Each returns its exit status."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path

from numpylm.cli.printing import (
    final_scores,
    introduce,
    per_text,
    perplexity,
    print_cost,
    print_evaluation,
    print_losses,
    print_samples,
    print_scores,
    print_wrong,
    quoted,
)
from numpylm.cli.run_setup import chosen_settings, folder_of, given_settings, resumed, started
from numpylm.pipelines.language_model import load
from numpylm.training.presets import PRESET_OF, last_rate, preset, warmup_of
from numpylm.training.pretrained import inherited, objective_for
from numpylm.training.run_folder import open_run, require_free
from numpylm.training.train_config import require_read
from numpylm.training.trainer import Trainer, TrainingInterrupted

MANY_UNKNOWN = 0.2  # a share of <unk> that is warned of


def train(arguments: argparse.Namespace) -> int:
    """Start or resume a run; then plot it, compare it with the baselines and show what it can."""
    cost = {n: getattr(arguments, n) for n in ("watts", "pue", "grid")}
    cost = {name: value for name, value in cost.items() if value is not None}
    if arguments.dry_run:
        return _dry_run(arguments, cost)
    if cost:
        raise ValueError(f"{next(iter(cost))} is read with --dry-run only")
    trainer = resumed(arguments) if arguments.resume is not None else started(arguments)
    run = trainer.run
    if not _fitted(trainer, arguments.json):
        return 130
    last = run.metrics[-1]
    scores = {} if trainer.task.language_model else final_scores(trainer)
    if arguments.json:
        figures = {"run": str(run.folder), **last, "baselines": run.baselines}
        print(json.dumps(figures | ({"scores": scores} if scores else {})))
        return 0
    if scores:
        print_scores(trainer, {"this model": scores})
        print_samples(trainer)
        return 0
    print_losses(trainer)
    return 0


def _dry_run(arguments: argparse.Namespace, options: dict[str, float]) -> int:
    """Print what the run would cost, and make none."""
    from numpylm.cost.run_cost import predict_cost

    if arguments.resume is not None:
        raise ValueError("--dry-run predicts a new run: leave out --resume")
    figures = predict_cost(chosen_settings(arguments), **options)
    if arguments.json:
        print(json.dumps(figures))
    else:
        print_cost(figures)
    return 0


def finetune(arguments: argparse.Namespace) -> int:
    """Fine-tune a run, train the same model from scratch, and show both."""
    start = open_run(arguments.run)
    objective = objective_for(start, arguments.task)
    given, settings = given_settings(arguments), preset(PRESET_OF[objective])
    config = dataclasses.replace(
        settings, **last_rate(given, settings), **warmup_of(given, settings),
        objective=objective, pretrained=str(start.folder.resolve()),
        **inherited(start, objective), **given,
    )  # fmt: skip
    require_read(config, given)
    if objective == start.config.objective and "corpus" not in given:
        raise ValueError(f"{start.folder} was trained for {objective}: give another --corpus")
    configs = {"fine-tuned": config}
    if not arguments.no_scratch:
        scratch = dataclasses.replace(config, freeze_trunk=False, freeze_layers=0)
        configs["from scratch"] = scratch
    name = arguments.task if arguments.name is None else arguments.name
    folder_of(arguments, name, exact=True)  # raises for a name that is none
    folders = {
        which: folder_of(arguments, name + end, exact=bool(arguments.name))
        for which, end in zip(configs, ("", "-scratch"), strict=False)
    }
    for folder in folders.values():
        require_free(folder)
    results, trainers = {}, []
    for which, chosen in configs.items():
        trainer = Trainer.start(folders[which], chosen, random_start=which == "from scratch")
        trainers.append(trainer)
        if not arguments.json:
            print(f"\n{which}")
        if not _fitted(trainer, arguments.json):
            return 130
        results[which] = final_scores(trainer)
    if arguments.json:
        runs = {which: str(folder) for which, folder in folders.items()}
        print(json.dumps({"start": arguments.run, "task": arguments.task, "runs": runs,
                          "scores": results, "baselines": trainers[0].run.baselines}))  # fmt: skip
    else:
        print_scores(trainers[0], results)
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Answer each text with the model of a run."""
    from numpylm.data.corpus import read_text
    from numpylm.pipelines.predictor import load_predictor

    if bool(arguments.text) == bool(arguments.file):
        raise ValueError("give a text or --file, one of the two")
    texts = arguments.text
    if arguments.file:
        texts = [line for line in read_text(Path(arguments.file)).splitlines() if line.strip()]
    predictor = load_predictor(arguments.run)
    readable = predictor.run.config.task.readable
    if arguments.attention:
        predictor.require_attention()
    for number, text in enumerate(texts, 1):
        try:
            found = predictor.predict(text, second=arguments.second, beam=arguments.beam)
        except ValueError as error:
            raise ValueError(f"text {number}: {error}" if len(texts) > 1 else str(error)) from None
        if found.get("unknown", 0.0) > MANY_UNKNOWN:
            print(f"warning: {found['unknown']:.0%} of the words of text {number} are not known",
                  file=sys.stderr)  # fmt: skip
        print(json.dumps(found, ensure_ascii=False) if arguments.json else readable(found))
    if arguments.attention:
        from numpylm.plots.runs import plot_attention

        drawn = predictor.attention(texts[-1], beam=arguments.beam)
        plot_attention(Path(arguments.attention), *drawn)
    return 0


def generate(arguments: argparse.Namespace) -> int:
    """Print the prompt and what the model makes of it, token by token."""
    names = ("tokens", "temperature", "top_k", "top_p")
    sampling = {name: getattr(arguments, name) for name in names}
    if arguments.samples < 1:
        raise ValueError(f"samples is {arguments.samples}; it must be at least 1")
    lm, prompt = load(arguments.run), arguments.prompt
    if (unknown := lm.unknown(prompt).get("unknown", 0.0)) > MANY_UNKNOWN:
        print(f"warning: {unknown:.0%} of the words of the prompt are <unk>", file=sys.stderr)
    for number in range(arguments.samples):
        pieces = lm.stream(prompt, seed=arguments.seed + number, **sampling)
        first = next(pieces, "")  # an error in the prompt shows before anything is printed
        if arguments.json:
            text = prompt + first + "".join(pieces)
            print(json.dumps({"run": arguments.run, "prompt": prompt, "text": text}))
            continue
        print("---\n" * (number > 0) + prompt + first, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Loss and perplexity of a run on a split of its corpus, or on a text file."""
    from numpylm.data.corpus import load_corpus, read_text
    from numpylm.data.words import using_rules
    from numpylm.plots.runs import unit_of

    others: dict[str, float] = {}
    if arguments.text is not None:
        lm, what, text = load(arguments.run), arguments.text, read_text(Path(arguments.text))
        more = lm.unknown(text)
        loss, one_loss = lm.loss(text), True
        ids = lm.tokenizer.encode(text)
        more |= per_text(loss, len(ids), text)
    else:
        what, trainer = arguments.split, Trainer.resume(arguments.run)
        with trainer.parallel() as parallel:
            others = trainer.task.measure(parallel, what)
            others |= trainer.task.scores(parallel, what, beam=arguments.beam)
        loss, one_loss = others.pop("loss"), trainer.task.one_loss
        more = {}
        if trainer.task.language_model:
            with using_rules(trainer.run.vocabulary.rules):
                text = getattr(load_corpus(trainer.config.corpus), what)
            more = load(arguments.run).unknown(text)
            more |= per_text(loss, trainer.run.corpus[f"{what}_tokens"], text)
    figures = {"loss": loss, "perplexity": perplexity(loss) if one_loss else None,
               "bits_per_token": loss / math.log(2), **more}  # fmt: skip
    if more.get("unknown", 0.0) > MANY_UNKNOWN:
        print(f"warning: {more['unknown']:.0%} of the words of {what} are <unk>, which is easily "
              "predicted: the loss says little of this text", file=sys.stderr)  # fmt: skip
    if arguments.json:
        print(json.dumps({"run": arguments.run, "text": what, **figures, **others}))
        return 0
    print_evaluation(what, figures, others, unit_of(open_run(arguments.run)))
    return 0


def gradcheck(arguments: argparse.Namespace) -> int:
    """Check every forward/backward pair against finite differences; 1 if one is wrong."""
    from numpylm.gradcheck.audit import lowest_first, run_audit
    from numpylm.gradcheck.catalogue import PAIRS

    if arguments.mutants:
        from numpylm.gradcheck.mutation.report import report_mutants

        return report_mutants(PAIRS, arguments.seed, arguments.bar, as_json=arguments.json)
    rows = []
    for row in run_audit(PAIRS, seed=arguments.seed):
        rows.append(row)
        if not arguments.json:
            right = row.worst_error <= arguments.bar
            print(f"{row}{'' if right else '   WRONG'}", flush=True)
    worst = max(rows, key=lambda row: math.inf if math.isnan(row.worst_error) else row.worst_error)
    wrong = lowest_first(row for row in rows if not row.worst_error <= arguments.bar)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
    else:
        print(
            f"\n{len(rows)} rows in {sum(row.seconds for row in rows):.1f} s; worst relative error "
            f"{worst.worst_error:.1e} ({worst.name}: {worst.worst_array}), bar {arguments.bar:g}"
        )
        print_wrong(wrong) if wrong else print("every gradient is right")
    return 1 if wrong else 0


def bench(arguments: argparse.Namespace) -> int:
    """Time training steps of a preset on random tokens."""
    from numpylm.cost.step_time import benchmark

    config = dataclasses.replace(preset(arguments.preset), **given_settings(arguments))
    if not config.task.language_model:
        raise ValueError(f"bench times the language model; preset {arguments.preset} is none")
    figures = benchmark(config, arguments.vocab_size, arguments.seconds)
    if arguments.json:
        print(json.dumps(figures))
        return 0
    for name, value in figures.items():
        number = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"
        print(f"{name:<18} {number:>14}")
    return 0


def _fitted(trainer: Trainer, quiet: bool) -> bool:
    """Train to the end and draw the curve; False if it was stopped, which it says."""
    from numpylm.plots.runs import plot_loss

    folder = trainer.run.folder
    if not quiet:
        introduce(trainer)
    try:
        trainer.fit(log=None if quiet else print)
    except TrainingInterrupted as stopped:
        note = (
            f"stopped and saved at {stopped}; go on with: numpylm train --resume {quoted(folder)}"
        )
        print(note, file=sys.stderr if quiet else sys.stdout, flush=True)
        plot_loss(trainer.run)
        return False
    plot_loss(trainer.run)
    return True

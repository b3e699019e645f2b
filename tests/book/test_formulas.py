"""Each formula of the textbook's sections 3 and 4, forward and backward, stands in its chapter.

Compared are normal forms: what only sets type (spaces, brackets' sizes, fonts, braces under a term)
is taken away, so that 𝑄Kᵀ/√d_k is found however it is set.
"""

from __future__ import annotations

import re

import pytest

from numpylm.book.notebooks import chapter_files
from numpylm.book.opening_page import section

FORMULAS = {
    "3.1": {
        "word embedding": r"x_t = E[\mathrm{id}_t]",
        "position is added": r"x_t \leftarrow x_t + P_t",
        "multi-head self-attention": r"\mathrm{Concat}(head_1, \dots, head_H) W_O",
        "residual connection, pre-norm": r"y = x + \mathrm{Dropout}(F(\mathrm{LN}(x)))",
        "residual connection, post-norm": r"y = \mathrm{LN}(x + \mathrm{Dropout}(F(x)))",
        "layer norm": r"\mathrm{LN}(x) = \gamma \odot \hat x + \beta",
        "normalised": r"\hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}",
        "mean": r"\mu = \frac{1}{D} \sum_{d=1}^{D} x_d",
        "variance": r"\sigma^2 = \frac{1}{D} \sum_{d=1}^{D} (x_d - \mu)^2",
        "feed-forward network": r"\mathrm{FFN}(x) = \mathrm{act}(x W_1 + b_1) W_2 + b_2",
        "ReLU": r"\mathrm{ReLU}(u) = \max(0, u)",
        "GELU": r"\frac12 u (1 + \tanh(\sqrt{2/\pi} (u + 0.044715 u^3)))",
        "backward of a linear map": r"dW = X^\top dY",
        "backward of a residual": r"dx = dy + J_F^\top dy",
        "backward of layer norm":
            r"dx = r (d\hat x - mean(d\hat x) - \hat x \odot mean(d\hat x \odot \hat x))",
        "backward of the embedding": r"dE_v = \sum_{t: id_t = v} dx_t",
    },
    "3.2": {
        "causal self-attention": r"a = x + \mathrm{Attn}(Q, K, V from \mathrm{LN}_1(x); causal)",
        "encoder-decoder attention": r"b = a + \mathrm{Attn}(Q from \mathrm{LN}_2(a); K, V from m)",
        "feed-forward": r"x' = b + \mathrm{FFN}(\mathrm{LN}_3(b))",
        "logits": r"z_t = h_t E^\top",
        "output distribution": r"p_{tv} = \frac{e^{z_{tv}}}{\sum_{w=1}^{V} e^{z_{tw}}}",
        "cross entropy": r"L = -\frac1n \sum_t \ln p_{t, target_t}",
        "backward of softmax and loss": r"dz = \frac{1}{n} (p - y)",
        "backward of the output layer": r"dh = dz E",
        "backward of tied weights": r"dE_v = \sum_{t: id_t = v} dx_t + \sum_t dz_{tv} h_t",
        "gradient of the memory": r"dm = dK W_K^\top + dV W_V^\top",
    },
    "3.3": {
        "pre-training": r"\arg\min L_{MLM}",
        "pooled": r"pooled = \tanh(h_{[CLS]} W_p + b_p)",
        "classification": r"z_b = pooled_b W + b",
        "labelling": r"z_{bt} = h_{bt} W + b",
        "answering": r"L = -\frac{1}{2B} \sum_b [\log P^s_b(s_b) + \log P^e_b(e_b)]",
        "best answer": r"\arg\max_{i \le j} z^s_i + z^e_j",
        "beam search": r"s(y) = \frac{\log P(y \mid source)}{((5 + |y|)/6)^\alpha}",
        "backward of a head": r"dW = pooled^\top dz",
        "backward of answering": r"dz^s_{bt} = \frac{1}{2B} (P^s_b(t) - y^s_{bt})",
    },
    "4.1": {
        "scaled scores": r"S = \frac{Q K^\top}{\sqrt{d_k}}",
        "weights": r"A = \mathrm{softmax}(S)",
        "output": r"Y = A V",
        "one score": r"S_{ij} = \frac{1}{\sqrt{d_k}} \sum_{c=1}^{d_k} Q_{ic} K_{jc}",
        "softmax": r"A_{ij} = \frac{e^{S_{ij}}}{\sum_{m=1}^{S} e^{S_{im}}}",
        "mask": r"S_{ij} \leftarrow -\infty",
        "Jacobian of softmax": r"a_j (\delta_{ij} - a_i)",
        "dV": r"dV = \tilde A^\top dY",
        "dS": r"dS = A \odot (dA - rowsum(A \odot dA))",
        "dQ": r"dQ = \frac{1}{\sqrt{d_k}} dS K",
        "dK": r"dK = \frac{1}{\sqrt{d_k}} dS^\top Q",
    },
    "4.2": {
        "queries": r"Q = X W_Q + b_Q",
        "keys of the memory": r"K = M W_K + b_K",
        "values of the memory": r"V = M W_V + b_V",
        "one head": r"head_h = \mathrm{softmax}(\frac{Q_h K_h^\top}{\sqrt d}) V_h",
        "concatenation": r"C = \mathrm{Concat}(head_0, \dots, head_{H-1})",
        "output": r"Y = C W_O + b_O",
        "heads add up": r"\sum_{h=0}^{H-1} head_h W_O^{(h)}",
        "backward of the output": r"dC = dY W_O^\top",
        "backward of self-attention": r"dM = dK W_K^\top + dV W_V^\top",
    },
    "4.3": {
        "sine": r"PE_{t, 2i} = \sin(\omega_i t)",
        "cosine": r"PE_{t, 2i+1} = \cos(\omega_i t)",
        "frequency": r"\omega_i = \frac{1}{10000^{2i/D}}",
        "added": r"Y = X + PE",
        "learned": r"Y_{b,t} = X_{b,t} + W_t",
        "ALiBi": r"S^{(h)}_{ts} = \frac{q_t \cdot k_s}{\sqrt d} - m_h |t - s|",
        "slopes": r"m_h = 2^{-8h/H}",
        "addition theorem":
            r"\sin \omega(t + k) = \sin\omega t \cos\omega k + \cos\omega t \sin\omega k",
        "distance only": r"PE_t \cdot PE_s = \sum_i \cos(\omega_i (t - s))",
        "backward of learned positions": r"dW_t = \sum_b dY_{b,t}",
    },
}  # fmt: skip
LINE = 100


def normal(latex: str) -> str:
    """The formula without what only sets type."""
    latex = re.sub(r"\\(left|right|[bB]igg?[lr]?|tilde(?= M))(?![a-zA-Z])", "", latex)
    latex = re.sub(r"\\(q?quad|text|mathrm|mathcal|operatorname)(?![a-zA-Z])|\\[,;:! ]", "", latex)
    latex = _without_braces_under(latex.replace("tfrac", "frac"))
    latex = re.sub(r"\\frac *(\w) *(\w)", r"\\frac{\1}{\2}", latex)
    return re.sub(r"[\s{}&]|\\\\", "", latex)


def _without_braces_under(latex: str) -> str:
    r"""``\underbrace{x}_{(T, D)}`` → ``x``; what stands under it may hold braces, too."""
    while (start := latex.find(r"\underbrace{")) >= 0:
        term = start + len(r"\underbrace")
        end = _closing(latex, term)
        after = _closing(latex, end + 1) if latex[end : end + 2] == "_{" else end
        latex = latex[:start] + latex[term + 1 : end - 1] + " " + latex[after:]
    return latex


def _closing(text: str, opening: int) -> int:
    """The place behind the brace that closes the one at ``opening``."""
    depth = 0
    for place in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return place + 1
    raise ValueError(f"a brace is not closed: {text[opening : opening + LINE]}")


def formulas_of(number: str) -> str:
    """All formulas of a chapter in their normal form, one after the other."""
    (chapter,) = [c for c in chapter_files() if section(c) == number]
    text = re.sub(r"```.*?```", "", chapter.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    found = re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", text, re.DOTALL)
    return " ; ".join(normal(display or inline) for display, inline in found)


@pytest.mark.parametrize("number", FORMULAS)
def test_every_formula_of_the_section_is_in_its_chapter(number: str) -> None:
    stated = formulas_of(number)
    lacking = [name for name, latex in FORMULAS[number].items() if normal(latex) not in stated]
    assert not lacking, f"chapter {number} lacks {lacking}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\underbrace{Q}_{(T,\,d_{k})}\, K^\top", r"Q K^\top"),
        (r"\mathrm dW = \tfrac1D \Big( x \Big)", r"dW = \frac{1}{D}(x)"),
        (r"\text{head}_h\quad &", "head_h"),
    ],
)
def test_formulas_that_differ_in_type_only_are_the_same(one: str, other: str) -> None:
    assert normal(one) == normal(other)


def test_formulas_that_differ_are_not_the_same() -> None:
    assert normal(r"S = QK^\top / \sqrt{d_k}") != normal(r"S = QK^\top / d_k")
    assert normal("a_i") != normal("a_j")

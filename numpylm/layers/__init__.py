"""The layers of a Transformer: one file each, a dataclass of parameters and two pure functions."""

"""The command line: ``numpylm train | finetune | predict | generate | …``."""

from numpylm.cli.parser import main

__all__ = ["main"]

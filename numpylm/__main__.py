"""``python -m numpylm`` is the command ``numpylm``."""

from numpylm.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

"""One parser, fuzzed by atheris, which looks for bytes that reach code not reached before.

`python -m campaigns.fuzz.guided PARSER FOLDER -max_total_time=SECONDS`, with options of libFuzzer.
It takes the process over, hence one of its own for each parser.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["headgate_gateway"]):
    from tests.fuzz.parsers import PARSERS


def main() -> None:
    """Fuzz until the time is over, or a promise is broken: then the status is not zero."""
    name, folder, *options = sys.argv[1:]
    parser, corpus = PARSERS[name], Path(folder)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(parser.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], str(corpus), *options], parser.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

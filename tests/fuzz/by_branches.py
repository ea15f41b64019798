"""One reader under libFuzzer: ``python -m tests.fuzz.by_branches READER FOLDER [options of libFuzzer]``."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["scfm_eval"]):
    import scfm_eval.arrays
    import scfm_eval.bounds
    import scfm_eval.datasets.archives
    import scfm_eval.datasets.gene_sets
    import scfm_eval.datasets.networks
    import scfm_eval.datasets.orthologs
    import scfm_eval.models.checkpoint
    import scfm_eval.models.gene_vectors
    import scfm_eval.models.outside_declaration
    import scfm_eval.ontology
    import scfm_eval.report  # noqa: F401
    from scfm_eval.errors import InvalidInputError

from tests.fuzz.readers import READERS


def main(name: str, place: str, *options: str) -> None:
    """Run until libFuzzer ends the process."""
    reader, folder = READERS[name], Path(place)
    for part in ("good", "seeds"):
        (folder / part).mkdir()
    for number, path in enumerate(reader.make(folder / "good")):
        (folder / "seeds" / str(number)).write_bytes(path.read_bytes())
    file = folder / f"input{reader.suffix}"

    def one(content: bytes) -> None:
        file.write_bytes(content)
        try:
            reader.read(file)
        except InvalidInputError:
            return

    atheris.Setup([sys.argv[0], *options, str(folder / "seeds")], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What reads damaged files until the time is over, in a process that another one watches."""

from __future__ import annotations

import os
import random
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

from scfm_eval.errors import InvalidInputError
from tests.fuzz.damage import damaged
from tests.fuzz.readers import READERS


def work(name: str, folder: Path, *, seed: int, seconds: float, began: Any, sent: Any) -> None:
    """Read damaged files until the time is over; what is going on is seen in ``began`` and ``sent``."""
    reader, generator = READERS[name], random.Random(f"{name} {seed}")
    good = folder / "good"
    shutil.rmtree(good, ignore_errors=True)
    good.mkdir()
    contents = [path.read_bytes() for path in reader.make(good)]
    file = folder / f"input{reader.suffix}"
    for content in contents:
        file.write_bytes(content)
        reader.read(file)
    sent.send("ready")
    until = time.time() + seconds
    while time.time() < until:
        file.write_bytes(damaged(generator.choice(contents), generator))
        began.value, before = time.time(), sum(os.times()[:4])
        fault, refused = "", False
        try:
            reader.read(file)
        except InvalidInputError:
            refused = True
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{type(error).__name__} in {Path(last.filename).name}:{last.name}: {str(error)[:80]!a}"
        taken, began.value = sum(os.times()[:4]) - before, 0.0
        sent.send((refused, taken, fault, file.read_bytes() if fault else b""))
    sent.send(None)

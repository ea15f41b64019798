"""Where memory runs out, cells go in fewer at a time, down to one; the result says so and its numbers stay."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

import numpy as np
import psutil
import pytest
import torch

from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident, fitting_cells, in_process, is_out_of_memory
from scfm_eval.evaluate import evaluate
from scfm_eval.isolated import isolated
from scfm_eval.models.geneformer import GeneformerMini
from scfm_eval.store import Store
from scfm_eval.tasks.integration import BatchIntegration
from tests.toys import N_GENES, toy_cells

resource = pytest.importorskip("resource")
PER_CELL = 2**19  # values in a batch by cell: 2 MiB
ROOM = 40 * 2**20


@contextmanager
def little_memory(room=ROOM):
    """Let this process grow by so many bytes only."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class InBatches:
    """A network that needs 2 MiB for each cell of a batch."""

    limit = staticmethod(little_memory)

    def __init__(self, *, seed: int = 0, batch_size: int = 64) -> None:
        self.batch_size = batch_size
        self._weights = torch.randn(N_GENES, 8, generator=torch.Generator().manual_seed(seed))

    def embed(self, cells):
        X = np.log1p(cells.X.toarray())
        with torch.inference_mode(), self.limit():
            parts = [self._rows(X[start : start + self.batch_size]) for start in range(0, len(X), self.batch_size)]
        return np.concatenate(parts)

    def _rows(self, X):
        block = torch.ones(len(X), PER_CELL)
        return (torch.from_numpy(X) @ self._weights * block[:, :1]).numpy()


class WithRoom(InBatches):
    """The same, with all memory of the machine."""

    @staticmethod
    @contextmanager
    def limit():
        yield


class AtOnce:
    """Takes 2 MiB for each cell that it is called with, and knows no batches."""

    def embed(self, cells):
        with little_memory():
            block = np.ones((cells.n_obs, PER_CELL), dtype=np.float32)
        return np.log1p(cells.X.toarray()) * block[:, :1]


class AtOnceWithRoom:
    """The same, with all memory of the machine."""

    def embed(self, cells):
        return np.log1p(cells.X.toarray())


class Together(AtOnce):
    """Makes the rows of all cells in one."""

    transductive = True


class TooLarge:
    """Has no room for a single cell."""

    def embed(self, cells):
        with little_memory():
            return np.ones((cells.n_obs, 100 * PER_CELL), dtype=np.float32)


@pytest.fixture
def judge(tmp_path):
    dataset = Dataset(name="toy", build=toy_cells, label_key="cell_type", batch_key="lane")
    cells = Cells(dataset, dataset.load())

    def run(adapter, *, start=in_process):
        store, resident = Store(tmp_path / adapter.__name__), Resident(start=start)
        result = evaluate(BatchIntegration(), adapter, cells, store=store, resident=resident)
        resident.free()
        return result, store.find(result.arrays.get("embed", ""))

    return run


def assert_same(small, large):
    (few, of_few), (many, of_many) = small, large
    np.testing.assert_allclose(of_few.arrays[0], of_many.arrays[0], atol=1e-5)
    values = {name: [pytest.approx(record.value, abs=1e-5), record.reason] for name, record in few.scores.items()}
    assert {name: [record.value, record.reason] for name, record in many.scores.items()} == values


def test_the_batch_halves_on_the_host_and_the_numbers_stay(judge):
    small, large = judge(InBatches), judge(WithRoom)
    assert_same(small, large)
    (note,) = [note for note in small[0].notes if "ran out of memory" in note]
    assert note in {f"ran out of memory: cells were given {n} at a time instead of 64" for n in (4, 8, 16, 32)}
    assert not any("memory" in note for note in large[0].notes)


def test_a_result_of_the_store_says_so_too(judge):
    first, again = judge(InBatches)[0], judge(InBatches)[0]
    assert again.from_store
    assert first.notes == again.notes


def test_a_model_without_batches_is_called_with_fewer_cells(judge):
    small, large = judge(AtOnce), judge(AtOnceWithRoom)
    assert_same(small, large)
    assert any(note.startswith("ran out of memory: it was called with") for note in small[0].notes)


def test_cells_that_depend_on_each_other_are_never_divided(judge):
    result, _ = judge(Together)
    assert "MemoryError" in result.failure


def test_where_one_cell_does_not_fit_that_is_the_reason(judge):
    result, _ = judge(TooLarge)
    assert "MemoryError: Unable to allocate 200. MiB for an array with shape (1, " in result.failure


def test_parts_are_in_order_and_whole():
    cells, asked = toy_cells(n_cells=7), []

    def call(few):
        if few.n_obs > 2:
            raise MemoryError
        asked.extend(few.obs_names)
        return few.X.toarray()

    made = fitting_cells(object(), call, cells)
    assert asked == list(cells.obs_names)
    np.testing.assert_array_equal(np.concatenate(made), cells.X.toarray())


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_tells_that_memory_ran_out(error, is_memory):
    assert is_out_of_memory(error) is is_memory


@pytest.mark.heavy
@pytest.mark.skipif(os.name != "posix", reason="processes of POSIX")
def test_the_batch_halves_in_a_process_of_its_own(judge):
    small, large = judge(InBatches, start=isolated), judge(WithRoom)
    assert_same(small, large)
    assert any("at a time instead of 64" in note for note in small[0].notes)


class TightGeneformer(GeneformerMini):
    """The packaged model where a batch of more than two cells does not fit."""

    def __init__(self, *, seed: int = 0, batch_size: int = 16) -> None:
        super().__init__(seed=seed, batch_size=batch_size)

    def embed(self, cells):
        if self.batch_size > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().embed(cells)


class RoomyGeneformer(GeneformerMini):
    """The same where it does."""

    def __init__(self, *, seed: int = 0, batch_size: int = 16) -> None:
        super().__init__(seed=seed, batch_size=batch_size)


@pytest.mark.heavy
def test_the_numbers_of_a_transformer_stay(tmp_path):
    from scfm_eval.discovery import find_dataset

    dataset = find_dataset("synthetic_batches")
    cells = Cells(dataset, dataset.load())
    made = []
    for adapter in (TightGeneformer, RoomyGeneformer):
        store = Store(tmp_path / adapter.__name__)
        result = evaluate(BatchIntegration(), adapter, cells, store=store, resident=Resident())
        made.append((result, store.find(result.arrays["embed"])))
    assert_same(*made)
    assert any("cells were given 2 at a time instead of 16" in note for note in made[0][0].notes)

"""Tables of gene vectors in every form in which they come, and what is refused of them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.gene_vectors import read_gene_vectors

GENES = ["A1", "B-2", "C.3"]
ROWS = np.array([[0.5, -1.25], [0.0, 0.0], [3.0, 1e-3]])


def write(folder, form, *, genes=GENES, rows=ROWS):
    path = folder / f"table.{form}"
    if form in ("pickle", "pkl"):
        values = [list(map(float, row)) if i % 2 else np.asarray(row)[None, :] for i, row in enumerate(rows)]
        path.write_bytes(pickle.dumps(dict(zip(genes, values, strict=True))))
    elif form == "json":
        path.write_text(json.dumps(dict(zip(genes, rows.tolist(), strict=True))))
    elif form == "npz":
        np.savez(path, genes=np.array(genes), vectors=rows)
    elif form == "parquet":
        pd.DataFrame(
            rows, index=pd.Index(genes, name="gene"), columns=[f"x{i}" for i in range(rows.shape[1])]
        ).reset_index().to_parquet(path)
    else:
        write_text(path, genes, rows)
    return path


def write_text(path, genes, rows):
    join = {".txt": " ".join, ".csv": ",".join, ".tsv": "\t".join}[path.suffix]
    path.write_text(
        "".join(join([gene, *map(repr, map(float, row))]) + "\n" for gene, row in zip(genes, rows, strict=True))
    )


@pytest.fixture(params=["pickle", "pkl", "json", "npz", "parquet", "txt", "csv", "tsv"])
def form(request):
    return request.param


class TestEveryForm:
    def test_genes_and_vectors_are_read_and_zeros_are_no_vector(self, tmp_path, form):
        made = read_gene_vectors(write(tmp_path, form))
        assert (made.genes, made.without) == (["A1", "C.3"], ["B-2"])
        assert made.vectors.dtype == np.float32
        np.testing.assert_array_equal(made.vectors, ROWS[[0, 2]].astype(np.float32))

    @pytest.mark.parametrize("broken", [np.nan, np.inf, 1e300])
    def test_values_that_are_not_finite_are_refused(self, tmp_path, form, broken):
        rows = ROWS.copy()
        rows[2, 1] = broken
        with pytest.raises(InvalidInputError, match=r"C\.3"):
            read_gene_vectors(write(tmp_path, form, rows=rows))

    def test_a_table_of_zeros_is_refused(self, tmp_path, form):
        with pytest.raises(InvalidInputError, match="none with a vector"):
            read_gene_vectors(write(tmp_path, form, rows=ROWS * 0))

    def test_a_truncated_file_is_refused(self, tmp_path, form):
        path = write(tmp_path, form, rows=np.full((3, 400), 0.125))
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - len(content) // 7])
        with pytest.raises(InvalidInputError):
            read_gene_vectors(path)

    def test_a_gene_without_a_name_is_refused(self, tmp_path, form):
        # between blanks a name that is not there leaves no trace: the first number is taken for it
        said = "another length" if form in ("txt", "tsv") else "without a name"
        with pytest.raises(InvalidInputError, match=said):
            read_gene_vectors(write(tmp_path, form, genes=["A1", "", "C.3"]))


@pytest.mark.parametrize("form", ["npz", "parquet", "txt", "csv", "tsv"])
def test_a_gene_that_occurs_twice_is_refused(tmp_path, form):
    with pytest.raises(InvalidInputError, match="more than once: A1"):
        read_gene_vectors(write(tmp_path, form, genes=["A1", "B-2", "A1"]))


class TestText:
    def read(self, tmp_path, text, suffix="txt"):
        path = tmp_path / f"table.{suffix}"
        path.write_text(text)
        return read_gene_vectors(path)

    def test_word2vec_states_its_sizes(self, tmp_path):
        made = self.read(tmp_path, "2 3\nA1 1 2 3\nB2 4 5 6\n")
        assert made.genes == ["A1", "B2"]
        np.testing.assert_array_equal(made.vectors, [[1, 2, 3], [4, 5, 6]])

    @pytest.mark.parametrize("stated", ["3 3", "2 4"])
    def test_sizes_that_are_not_those_of_the_table_are_refused(self, tmp_path, stated):
        with pytest.raises(InvalidInputError, match="2 genes where its first line states"):
            self.read(tmp_path, f"{stated}\nA1 1 2 3\nB2 4 5 6\n")

    def test_the_matrix_form_of_gene2vec(self, tmp_path):
        made = self.read(tmp_path, "A1\t0.5 -2e-05 1.0 \nB2\t1.5 2.0 3.0 \n")
        np.testing.assert_allclose(made.vectors, [[0.5, -2e-05, 1.0], [1.5, 2.0, 3.0]], rtol=1e-6)

    @pytest.mark.parametrize("heading", [",x,y", "gene,0,1", '"gene","x","y"', "symbol,a,b"])
    def test_a_line_of_names_is_left_out(self, tmp_path, heading):
        assert self.read(tmp_path, f'{heading}\n"A1",1,2\nB2,3,4\n', "csv").genes == ["A1", "B2"]

    def test_lengths_that_differ_are_named(self, tmp_path):
        with pytest.raises(InvalidInputError, match=r"another length than 3, that of A1: B2 \(2\)"):
            self.read(tmp_path, "A1 1 2 3\nB2 4 5\n")

    def test_words_are_no_numbers(self, tmp_path):
        with pytest.raises(InvalidInputError, match="something else than numbers after B2"):
            self.read(tmp_path, "A1 1 2\nB2 4 x\n")

    @pytest.mark.parametrize("text", ["", "\n\n", "0 3\n", "gene,x\n"])
    def test_nothing_is_refused(self, tmp_path, text):
        with pytest.raises(InvalidInputError, match=r"empty file|no gene"):
            self.read(tmp_path, text, "csv")


class TestPickle:
    def refused(self, tmp_path, content, said):
        (tmp_path / "table.pickle").write_bytes(pickle.dumps(content))
        with pytest.raises(InvalidInputError, match=said):
            read_gene_vectors(tmp_path / "table.pickle")

    def test_code_in_it_is_not_run(self, tmp_path):
        class Touches:
            def __reduce__(self):
                return (open, (str(tmp_path / "touched"), "w"))

        self.refused(tmp_path, {"A1": Touches()}, "nothing of it was executed")
        assert not (tmp_path / "touched").exists()

    @pytest.mark.parametrize(
        "value", ["text", 1.0, [], [[1.0, 2.0], [3.0, 4.0]], [[1.0], [2.0, 3.0]], ["a", "b"], [True, False], None]
    )
    def test_values_that_are_no_vector_are_named(self, tmp_path, value):
        self.refused(tmp_path, {"A1": [1.0, 2.0], "B2": value}, "for 1 genes: B2")

    def test_vectors_of_other_lengths_are_named(self, tmp_path):
        self.refused(tmp_path, {"A1": [1.0, 2.0], "B2": [1.0]}, r"B2 \(1\)")

    @pytest.mark.parametrize(("content", "said"), [({}, "empty"), ([1], "a list"), ({5: [1.0]}, "no text: 5")])
    def test_what_is_no_dictionary_of_genes_is_refused(self, tmp_path, content, said):
        self.refused(tmp_path, content, said)


def test_arrays_under_other_names_are_refused(tmp_path):
    np.savez(tmp_path / "t.npz", embedding=ROWS, cell_ids=np.array(GENES))
    with pytest.raises(InvalidInputError, match="not genes"):
        read_gene_vectors(tmp_path / "t.npz")


def test_a_table_without_names_is_refused(tmp_path):
    pd.DataFrame(ROWS, columns=["x", "y"]).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InvalidInputError, match="neither a column gene"):
        read_gene_vectors(tmp_path / "t.parquet")


def test_another_form_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"a \.bin file"):
        read_gene_vectors(tmp_path / "t.bin")

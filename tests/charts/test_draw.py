"""Pictures for a paper: three formats, on white, under the title, without network."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from scfm_eval.charts import figures
from scfm_eval.charts.draw import drawn
from scfm_eval.errors import InvalidInputError
from tests.charts.made import report, result


@pytest.fixture(scope="module")
def board():
    (found,) = figures(report(result("mine", 0.5, dataset="<cells>"), result("pca", 0.4, dataset="<cells>")))
    return found


def test_a_png_is_white_and_of_paper_size(board):
    image = Image.open(io.BytesIO(drawn(board))).convert("RGB")
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.width > 480 * 300 / 72


def test_an_svg_has_the_title_and_what_is_chosen(board):
    picture = drawn(board, "svg").decode()
    assert "Annotation on &lt;cells&gt;: scores by model" in picture
    assert "macro_f1, higher is better, &lt;cells&gt;" in picture
    assert 'fill="white"' in picture
    assert "#222222" in picture


def test_a_pdf_is_one(board):
    assert drawn(board, "pdf").startswith(b"%PDF")


def test_other_formats_are_refused(board):
    with pytest.raises(InvalidInputError, match="png, svg, pdf"):
        drawn(board, "gif")

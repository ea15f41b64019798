"""Declarations of models under another Python: what is refused before anything runs, and what an edit changes."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from scfm_eval.discovery import find_model
from scfm_eval.errors import InvalidInputError
from scfm_eval.provenance import adapter_sha256
from tests.models.outside_scripts import GOOD, declared


def test_an_edit_of_declaration_script_neighbour_or_packages_is_seen(tmp_path):
    def sha256():
        return adapter_sha256(find_model(str(file)))

    file = declared(tmp_path, GOOD, python='packages = {numpy = ""}')
    seen = [sha256(), sha256()]
    assert seen[0] == seen[1]
    file.write_text(file.read_text() + "\n")
    seen.append(sha256())
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "\n")
    seen.append(sha256())
    (tmp_path / "beside.py").write_text("A = 1\n")
    seen.append(sha256())
    file.write_text(file.read_text().replace('numpy = ""', 'numpy = "", psutil = ""'))
    seen.append(sha256())
    assert len(set(seen)) == len(seen) - 1
    made_with = find_model(str(file)).made_with
    assert f"('numpy', '{np.__version__}')" in made_with
    assert f"Python {sys.version.split()[0]}" in made_with


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[python]", "[pyton]", "'pyton', which is not known; the nearest: python"),
        ("script =", "scrpt =", "'scrpt', which is not known; the nearest: script"),
        ("[model]\n", "[model]\nlicense = 'MIT'\n", "'license', which is not known; the nearest: licence"),
        ("[model]\n", "[model]\nlicence = 5\n", "licence = 5, which is no text"),
        ("[model]\n", "[model]\nsees = ['label']\n", "'sees', which is not known"),
        ("[model]\n", "model = 3\n[other]\n", "which is not known|is no table"),
        ('["embed"]', '["embed", "dance"]', "no list of some of embed"),
        ('["embed"]', "[]", "no list of some of embed"),
        ('["embed"]', '"embed"', "no list of some of embed"),
        ("mine.py", "gone.py", "'gone.py', and there is no file .*gone.py"),
        ("mine.py", "mine.py" + "{" * 300, "and there is no file"),
        (sys.executable, "gone/python", "'gone/python', and there is no file .*gone/python"),
        (sys.executable, "mine.toml", "does not answer as a Python"),
        (sys.executable, "/bin/ls", "does not answer as a Python"),
        ("[python]\n", "[python]\ntimeout = 0\n", "no positive number"),
        ("[python]\n", "[python]\ntimeout = 'long'\n", "is not a number of seconds"),
        ("[python]\n", "[python]\ntimeout = true\n", "is not a number of seconds"),
        ("[python]\n", "[python]\naccelerator = 1\n", "is not true or false"),
        ("[python]\n", "[python]\nenvironment = 'HOME'\n", "is not a list of names"),
        ("[python]\n", "[python]\nenvironment = ['PYTHONPATH']\n", "being isolated"),
        ("[python]\n", "[python]\narguments = [1]\n", "is not a table"),
        ("[python]\n", "[python]\narguments = {since = 2024-01-01}\n", "arguments. cannot be handed on"),
        ("[python]\n", "[python]\npackages = {numpy = 'new'}\n", "no version such as"),
        ("[python]\n", "[python]\npackages = {numpy = '<1'}\n", "numpy .*, and not <1"),
        ("[python]\n", "[python]\npackages = {no-such-package = ''}\n", "no no-such-package"),
        ("[python]\n", "[python\n", "no TOML"),
        ("path =", "#", r"\[python\] has no path"),
    ],
)
def test_a_wrong_declaration_is_refused_before_anything_runs(tmp_path, old, new, said):
    file = declared(tmp_path, GOOD)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(InvalidInputError, match=said):
        find_model(str(file))


def test_a_declaration_that_is_not_there_and_a_folder_are_refused(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    for name, said in (("gone.toml", "no such file"), ("folder.toml", "no TOML")):
        with pytest.raises(InvalidInputError, match=said):
            find_model(str(tmp_path / name))


def test_an_environment_without_packages_is_refused(tmp_path):
    environment = tmp_path / "bare"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    (environment / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    file = declared(tmp_path, GOOD, path="bare/bin/python", python='packages = {torch = ">=2"}')
    with pytest.raises(InvalidInputError, match=r"no numpy; no torch") as refused:
        find_model(str(file))
    assert "'torch>=2'" in refused.value.remedy

"""Other programs get no secrets, and what they need."""

from __future__ import annotations

import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.outside_declaration import read_declaration
from scfm_eval.models.outside_process import environment
from tests.models.outside_scripts import GOOD, declared

SECRETS = (
    "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_PAT", "OPENAI_API_KEY", "DB_PASSWORD", "WANDB_API_KEY",
    "SSH_AUTH_SOCK", "CUDA_TOKEN", "LC_SECRET",
)  # fmt: skip
NEEDED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "LD_LIBRARY_PATH")


def test_only_what_is_needed_is_passed_on(monkeypatch):
    for name in (*SECRETS, *NEEDED, "ANY_OTHER", "PYTHONSTARTUP", "HTTPS_PROXY", "MINE"):
        monkeypatch.setenv(name, "x")
    given = environment(["MINE"])
    assert {*NEEDED, "MINE"} <= given.keys()
    assert given.keys().isdisjoint({*SECRETS, "ANY_OTHER", "PYTHONSTARTUP", "HTTPS_PROXY"})


@pytest.mark.parametrize("name", SECRETS)
def test_a_declaration_cannot_ask_for_a_secret(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert name not in environment([name])
    with pytest.raises(InvalidInputError, match="named like a secret"):
        read_declaration(declared(tmp_path, GOOD, python=f'environment = ["{name}"]'))


@pytest.mark.parametrize("name", ["KEYBOARD", "MONKEY", "MY_MODEL_FOLDER", "AUTUMN"])
def test_a_name_with_other_words_in_it_may_be_asked_for(tmp_path, name):
    assert read_declaration(declared(tmp_path, GOOD, python=f'environment = ["{name}"]')).environment == (name,)


@pytest.mark.parametrize(
    "text", ["a" + ".a" * 40_000 + " = 1", "a = " + "[" * 50_000, "a = 1\n" * 30_000, "x = " + "9" * 1999]
)
def test_a_declaration_without_an_end_is_refused(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(InvalidInputError):
        read_declaration(tmp_path / "a.toml")

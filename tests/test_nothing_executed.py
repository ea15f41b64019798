"""No way of the package runs what is in a file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import scfm_eval

FILES = sorted(Path(scfm_eval.__file__).parent.rglob("*.py"))
FORBIDDEN = {
    "eval", "exec", "compile", "pickle.load", "pickle.loads", "cPickle.load", "dill.load", "joblib.load",
    "marshal.loads", "marshal.load", "shelve.open", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen",
    "pd.read_pickle", "pandas.read_pickle", "pd.eval", "torch.hub.load", "torch.jit.load", "scvi.model.SCVI.load",
    "cloudpickle.loads",
}  # fmt: skip

# what this very run packed, from one of its processes to another
OWN = {("isolated_child.py", "pickle.loads")}


def _calls(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func), {word.arg: word.value for word in node.keywords}


def faults(file):
    """Return what a file calls that could run what is in another one."""
    for node, name, words in _calls(file):
        where = f"{file.name}:{node.lineno} {name}"
        if (name in FORBIDDEN and (file.name, name) not in OWN) or "trust_remote_code" in words:
            yield where
        if name == "torch.load" and not _is(words.get("weights_only"), True):
            yield f"{where} without weights_only=True"
        if name.endswith(("np.load", "np.save", "read_array")) and not _is(words.get("allow_pickle"), False):
            yield f"{where} without allow_pickle=False"
        if name.startswith("subprocess.") and "shell" in words:
            yield f"{where} with a shell"


def _is(value, wanted):
    return isinstance(value, ast.Constant) and value.value is wanted


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FILES[0].parent)))
def test_nothing_runs_what_is_in_a_file(file):
    assert not list(faults(file))


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)", "pickle.load(file)", "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)",
        "np.load(path, allow_pickle=True)", "AutoModel.from_pretrained(a, trust_remote_code=False)", "yaml.load(a)",
        "subprocess.run(a, shell=True)", "pd.read_pickle(a)",
    ],
)  # fmt: skip
def test_each_way_is_seen(tmp_path, line):
    file = tmp_path / "a.py"
    file.write_text(line)
    assert list(faults(file))

"""Faults that are committed on purpose: one line of the suite is written otherwise, everywhere where it is used."""

from __future__ import annotations

import importlib
import inspect
import sys
import types


def commit(monkeypatch, module, *, instead_of, write):
    """Let every user of a module of the suite have it with another line."""
    true = importlib.import_module(module)
    source = inspect.getsource(true)
    assert source.count(instead_of) == 1, f"{module} has {source.count(instead_of)} times {instead_of!r}"
    faulty = types.ModuleType(module)
    faulty.__file__ = true.__file__
    with monkeypatch.context() as only_now:
        # dataclasses look their module up by its name
        only_now.setitem(sys.modules, module, faulty)
        exec(compile(source.replace(instead_of, write), f"{true.__file__} with a fault", "exec"), faulty.__dict__)
    own = {
        id(value): vars(faulty)[name]
        for name, value in vars(true).items()
        if getattr(value, "__module__", "") == module and name in vars(faulty)
    }
    users = [user for name, user in sys.modules.items() if name.split(".")[0] == "scfm_eval" and user is not None]
    for user in users:
        for name, value in list(vars(user).items()):
            if id(value) in own:
                monkeypatch.setattr(user, name, own[id(value)])
    return faulty

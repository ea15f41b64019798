"""Weights are found where they should be, and are downloaded only when their licence allows it."""

from __future__ import annotations

import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import weights
from scfm_eval.models.licences import accept
from scfm_eval.models.weights import Home, locate, present

HOME = Home(repo="someone/something", revision="0" * 40, files=("config.json",))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Replace the download by a folder that is or is not cached; records the calls."""
    import huggingface_hub

    calls = []

    def snapshot_download(repo, *, revision, allow_patterns, local_files_only):
        calls.append((repo, revision, tuple(allow_patterns), local_files_only))
        folder = tmp_path / "snapshot"
        if not local_files_only:
            folder.mkdir(exist_ok=True)
            (folder / "config.json").write_text("{}")
        if not folder.exists():
            raise FileNotFoundError("not cached")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
    return calls


def test_a_given_folder_comes_first(tmp_path, hub):
    assert locate("m", weights=str(tmp_path), home=HOME) == tmp_path
    assert present("m", weights=tmp_path, home=HOME)
    assert hub == []


@pytest.mark.usefixtures("hub")
def test_a_given_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no such folder"):
        locate("m", weights=tmp_path / "none", home=HOME)
    assert not present("m", weights=tmp_path / "none", home=HOME)


def test_the_mirror_comes_second(tmp_path, hub, monkeypatch):
    (tmp_path / "m").mkdir()
    monkeypatch.setenv("SCFM_EVAL_WEIGHTS", str(tmp_path))
    assert locate("m", home=HOME) == tmp_path / "m"
    assert present("m", home=HOME)
    assert hub == []


def test_the_package_comes_third(tmp_path, hub, monkeypatch):
    (tmp_path / "inside").mkdir()
    monkeypatch.setattr(weights, "_PACKAGED", tmp_path)
    assert locate("m", home=Home(packaged="inside")) == tmp_path / "inside"
    assert present("m", home=Home(packaged="inside"))
    assert not present("m", home=Home(packaged="gone"))
    with pytest.raises(InvalidInputError, match=r"weights/gone is not in the installed package[\s\S]*install"):
        locate("m", home=Home(packaged="gone"))
    (tmp_path / "m").mkdir()
    monkeypatch.setenv("SCFM_EVAL_WEIGHTS", str(tmp_path))
    assert locate("m", home=Home(packaged="inside")) == tmp_path / "m"
    assert hub == []


def test_downloads_the_pinned_revision_once(tmp_path, hub):
    assert not present("m", home=HOME)
    assert locate("m", home=HOME) == tmp_path / "snapshot"
    assert locate("m", home=HOME) == tmp_path / "snapshot"
    assert present("m", home=HOME)
    assert [call[3] for call in hub] == [True, True, False, True, True]
    assert hub[2] == ("someone/something", "0" * 40, ("config.json",), False)


@pytest.mark.usefixtures("hub")
def test_an_incomplete_cache_is_not_present(tmp_path):
    (tmp_path / "snapshot").mkdir()
    assert not present("m", home=HOME)


def test_offline_names_all_three_places(hub, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_WEIGHTS", "/nowhere")
    with pytest.raises(InvalidInputError) as caught:
        locate("m", home=HOME, offline=True)
    assert all(place in str(caught.value) for place in ("no folder was given", "/nowhere/m", "someone/something"))
    assert all(call[3] for call in hub)


@pytest.mark.usefixtures("hub")
def test_a_failed_download_says_why(monkeypatch):
    import huggingface_hub

    def refuse(*_args, **_how):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(InvalidInputError, match="no route to host"):
        locate("m", home=HOME)


def test_a_licence_is_accepted_before_the_first_download(tmp_path, hub, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))
    asking = Home(repo="someone/something", revision="0" * 40, files=("config.json",), licence="research only")
    with pytest.raises(InvalidInputError, match=r"research only[\s\S]*--accept-licence m"):
        locate("m", home=asking)
    assert all(call[3] for call in hub)
    accept("m", licence="another licence")
    with pytest.raises(InvalidInputError, match="has not been accepted"):
        locate("m", home=asking)
    accept("m", licence="research only")
    assert locate("m", home=asking) == tmp_path / "snapshot"


def test_weights_got_by_hand_ask_for_their_licence_and_say_where_they_are(tmp_path, hub, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path))
    by_hand = Home(files=("w.pt",), address="https://example.org/m", licence="research only")
    with pytest.raises(InvalidInputError, match="research only") as told:
        locate("m", home=by_hand)
    assert told.value.found.startswith(
        "no open address: they are got by hand from https://example.org/m; and a licence"
    )
    assert "--accept-licence m, get the files from https://example.org/m, and put their folder" in told.value.remedy
    accept("m", licence="research only")
    with pytest.raises(InvalidInputError, match="it has no open address") as told:
        locate("m", home=by_hand)
    assert "get them from https://example.org/m" in told.value.remedy
    assert locate("m", weights=tmp_path, home=by_hand) == tmp_path
    assert hub == []

"""`sidecar backup`, `backups` and `restore`, against a running sidecar and without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from sidecar_process import WITHOUT_MODELS, run_sidecar, serving


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corpus.jsonl").write_text(
        "".join(f'{{"_id": "d{n}", "text": "word {n}"}}\n' for n in range(20))
    )
    return tmp_path


def configuration(folder: Path) -> str:
    return f'{WITHOUT_MODELS}[backup]\nfolder = "{folder / "backups"}"\n'


def done(*arguments: str | Path) -> str:
    ended = run_sidecar(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_backed_up_and_restored(folder: Path) -> None:
    with serving(folder, configuration(folder)) as server:
        on = ("--on", server.address)
        target = ("--to", server.address, "--collection", "words", "--create")
        done("index", folder / "corpus.jsonl", *target)
        made = done("backup", "words", *on)
        assert "20 documents  up to number 20" in made
        assert done("backups", *on) == made
        assert done("backups", "--collection", "others", *on) == ""
        name = made.split()[0]
        restored = done("restore", name, "--as", "again", *on)
        assert restored.startswith("again: 20 documents, up to number 20\n")
        assert "made anew while it is served: the lexical index" in restored
        refused = run_sidecar("restore", name, *on)
        assert refused.returncode == 2
        assert "collection 'words' exists already" in refused.stderr
        refused = run_sidecar("backup", "nothing", *on)
        assert refused.returncode == 2
        assert "does not exist" in refused.stderr
        refused = run_sidecar("restore", name, "--as", "x", "--data", server.data)
        assert refused.returncode == 2, "its name alone does not say in which folder"
        refused = run_sidecar(
            "restore", folder / "backups" / name, "--as", "x", "--data", server.data
        )
        assert refused.returncode == 1
        assert "in use by another sidecar" in refused.stderr
    new = folder / "new" / "data"
    by_name = ("--config", server.config, "--data", new)
    restored = done("restore", name, *by_name)
    assert restored.startswith("words: 20 documents, up to number 20\n")
    done("restore", folder / "backups" / name, "--as", "twice", "--data", new)
    with serving(folder / "new", configuration(folder)) as server:
        for collection in ("words", "twice"):
            found = done("search", "word", "--on", server.address, "--collection", collection)
            assert "word" in found


def test_without_a_folder_it_says_what_to_set(folder: Path) -> None:
    with serving(folder) as server:
        refused = run_sidecar("backups", "--on", server.address)
        assert refused.returncode == 1
        assert "set backup.folder" in refused.stderr


def test_what_is_no_backup_is_said(folder: Path) -> None:
    refused = run_sidecar("restore", folder, "--data", folder / "data")
    assert refused.returncode == 1
    assert "is no backup" in refused.stderr
    assert "Traceback" not in refused.stderr

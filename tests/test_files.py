"""Files that are written whole or not at all, and that others may read if the umask lets them."""

import os

import nbformat
import pytest
from conftest import ROOT
from torch import nn

from publishing import notebooks
from resnets import runs
from resnets.files import whole_file
from resnets.training import save_weights


def write_run(path):
    recorded = sorted(runs.RECORDED.glob("fashion-quick-*.json"))[0]
    return runs.read(recorded).write(path.parent)


def write_standalone_chapter(path):
    chapter = nbformat.read(ROOT / "book" / "01_function_classes.ipynb", as_version=4)
    notebooks._write(notebooks.standalone(chapter), path)


def write_again(path):
    path.write_text("before")
    path.chmod(0o600)
    with whole_file(path) as temporary:
        temporary.write_text("after")


WRITERS = (write_run, write_standalone_chapter, write_again)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("write", [*WRITERS, lambda path: save_weights(nn.Linear(1, 1), path)])
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_what_is_written_is_as_readable_as_the_umask_says(tmp_path, write, umask, mode):
    before = os.umask(umask)
    try:
        path = write(tmp_path / "file") or tmp_path / "file"
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "run.json"
    said = r"run\.json could not be written \(.*\): free some"
    with pytest.raises(OSError, match=said), whole_file(path):
        pass

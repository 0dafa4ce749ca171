"""What make does first: .venv made, kept, and made anew; paths and settings of others."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT))
import install


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course's lock files in a folder of their own, and what the installer would have run."""
    folder = tmp_path / "Zoë's course"
    (folder / "book").mkdir(parents=True)
    (folder / "book" / "requirements.txt").write_text("a==1 \\\n    --hash=sha256:00\n")
    (folder / "requirements.txt").write_text((ROOT / "requirements.txt").read_text())
    (folder / "pyproject.toml").write_text("")
    ran = []

    def run(*command):
        ran.append(" ".join(command))
        if "venv" in command:
            place(folder).parent.mkdir(parents=True)
            place(folder).symlink_to(sys.executable)
        elif "compile" in command:
            locked = command[command.index("--output-file") + 1]
            with open(locked, "w") as file:
                file.write("torch==2.13.0+cpu --hash=sha256:11\n")
        elif "-r" in command:
            with open(command[-1]) as file:
                ran[-1] += "\n" + file.read()

    monkeypatch.setattr(install, "_run", run)
    monkeypatch.setattr(install, "_uv", lambda: "uv")
    here(folder, monkeypatch)
    return folder, ran


def place(folder):
    return folder / ".venv" / "bin" / "python"


def here(folder, monkeypatch):
    """Let install.py stand in `folder`."""
    monkeypatch.setattr(install, "ROOT", folder)
    monkeypatch.setattr(install, "VENV", folder / ".venv")
    monkeypatch.setattr(install, "PYTHON", place(folder))
    monkeypatch.setattr(install, "NOTE", folder / ".venv" / "installed.json")
    monkeypatch.setattr(install, "SITE", folder / "book" / "requirements.txt")
    monkeypatch.setattr(install, "ALL", folder / "requirements.txt")


def test_the_site_gets_its_packages_and_the_rest_comes_on_top_once(course):
    _, ran = course
    install.main("site")
    assert len(ran) == 2 and "uv venv" in ran[0] and "--verify-hashes" in ran[1]
    assert "a==1" in ran[1] and "torch==" not in ran[1]
    install.main("site")
    assert len(ran) == 2
    install.main("all")
    assert len(ran) == 4 and "torch==" in ran[2] and "--verify-hashes" in ran[2] and "-e" in ran[3]
    install.main("all")
    install.main("site")
    assert len(ran) == 4


def test_pip_takes_no_package_without_a_hash(course, monkeypatch):
    _, ran = course
    monkeypatch.setattr(install, "_uv", lambda: None)
    install.main("site")
    assert "-m venv" in ran[0] and "-m pip install" in ran[1] and "--require-hashes" in ran[1]


def moved(folder, monkeypatch):
    here(folder.rename(folder.with_name("elsewhere")), monkeypatch)


def copied(folder, monkeypatch):
    shutil.copytree(folder, folder.with_name("a copy"), symlinks=True)
    here(folder.with_name("a copy"), monkeypatch)


def without_its_python(folder, monkeypatch):
    place(folder).unlink()
    place(folder).symlink_to("/nowhere/python")


def with_another_lock(folder, monkeypatch):
    (folder / "book" / "requirements.txt").write_text("a==2\n")


def interrupted(folder, monkeypatch):
    (folder / ".venv" / "installed.json").unlink()


def garbled(folder, monkeypatch):
    (folder / ".venv" / "installed.json").write_text("{")


@pytest.mark.parametrize(
    "how", [moved, copied, without_its_python, with_another_lock, interrupted, garbled]
)
def test_a_venv_that_is_not_right_any_more_is_made_anew(course, monkeypatch, how, capsys):
    folder, ran = course
    install.main("site")
    how(folder, monkeypatch)
    (install.VENV / "left over").touch()
    monkeypatch.setattr(install, "_make", make_in(install.VENV, ran))
    install.main("site")
    assert ran[-2:-1] == ["made anew"] and not (install.VENV / "left over").exists()
    count = len(ran)
    install.main("site")
    assert len(ran) == count


def make_in(folder, ran):
    def make():
        shutil.rmtree(folder)
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)
        ran.append("made anew")

    return make


def test_a_changed_lock_of_the_rest_concerns_the_site_only_when_the_rest_is_asked_for(course):
    folder, ran = course
    install.main("all")
    (folder / "pyproject.toml").write_text("changed")
    count = len(ran)
    install.main("site")
    assert len(ran) == count


def test_a_python_that_is_too_old_or_too_new_is_named(course, monkeypatch):
    monkeypatch.setattr(install, "VERSIONS", ((2, 7),))
    with pytest.raises(SystemExit, match=r"This is Python 3\.\d+; 3\.11, 3\.12 or 3\.13 is needed"):
        install.main("site")


def test_another_index_gives_pytorch_alone_and_the_lock_all_else(course):
    _, ran = course
    install.main("all", "https://localhost/cpu")
    lock, asked, torch = ran[2:5]
    assert not re.search(r"^(torch|torchvision|nvidia-\w+|triton|cuda-\w+)", lock, re.MULTILINE)
    assert "numpy==" in lock and "--verify-hashes" in lock and "localhost" not in lock
    assert "compile" in asked and "--generate-hashes" in asked and "localhost/cpu" in asked
    assert "torch==2.13.0+cpu" in torch and "--verify-hashes" in torch
    count = len(ran)
    install.main("all")
    install.main("all", "https://localhost/cpu")
    assert len(ran) == count, "an index that was chosen stays chosen"


def test_the_lock_without_pytorch_keeps_what_others_need_too():
    """What is left out is needed by PyTorch or by what is left out, and by nothing else."""
    lock = (ROOT / "requirements.txt").read_text()
    blocks = dict(re.findall(r"^([\w.-]+)(?:\[.*\])?==(.*\n(?: .*\n)*)", lock, re.MULTILINE))
    kept = install.without_torch(lock)
    gone = {name for name in blocks if not re.search(rf"^{name}(\[.*\])?==", kept, re.MULTILINE)}
    assert {"torch", "torchvision", "triton", "nvidia-cublas"} <= gone
    for name in gone - {"torch", "torchvision"}:
        users = set(re.findall(r"^    #(?: via)? +([\w.-]+)$", blocks[name], re.MULTILINE))
        assert users - {"via"} and users - {"via"} <= gone, name
    assert install.torch_pins(lock) == [
        f"{n}=={blocks[n].split()[0]}" for n in ("torch", "torchvision")
    ]
    names = re.compile(r"^([a-z][\w.-]*)(?:\[.*\])?==", re.MULTILINE)
    assert names.findall(kept) == [name for name in names.findall(lock) if name not in gone]


def wheel(folder, name, version):
    """A wheel with one empty module; returns its file."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{file},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},"
        f"{len(text.encode())}\n"
        for file, text in files.items()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in (files | {f"{about}/RECORD": record}).items():
            archive.writestr(file, text)
    return path


@pytest.mark.parametrize(
    "uv",
    [
        pytest.param(
            True, marks=pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed")
        ),
        False,
    ],
)
@pytest.mark.parametrize("right", [True, False])
def test_files_of_another_index_are_checked_against_what_it_states(
    tmp_path, monkeypatch, server, right, uv
):
    index = tmp_path / "index"
    for name, version in (("torch", "2.13.0+cpu"), ("torchvision", "0.28.0+cpu")):
        (index / name).mkdir(parents=True)
        path = wheel(index / name, name, version)
        digest = hashlib.sha256(path.read_bytes() if right else b"another file").hexdigest()
        link = path.name.replace("+", "%2B")
        page = f'<!DOCTYPE html><a href="{link}#sha256={digest}">{path.name}</a>'
        (index / name / "index.html").write_text(page)
    here(tmp_path, monkeypatch)
    if not uv:
        monkeypatch.setattr(install, "_uv", lambda: None)
    install._make()
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    pins = ["torch==2.13.0", "torchvision==0.28.0"]
    if right:
        install._install_torch(pins, server(index))
    else:
        with pytest.raises(SystemExit, match="not complete"):
            install._install_torch(pins, server(index))
    there = subprocess.run([install.PYTHON, "-c", "import torch, torchvision"], capture_output=True)
    assert (there.returncode == 0) == right


def test_settings_of_others_do_not_lead_the_installer_astray(tmp_path, monkeypatch):
    names = [name for name in install.NOT_OURS if name != "PYTHONHOME"]  # Python would not start
    for name in names:
        monkeypatch.setenv(name, "somewhere")
    monkeypatch.setattr(install, "ROOT", tmp_path)
    seen = tmp_path / "seen"
    code = f"import json, os; json.dump(dict(os.environ), open({str(seen)!r}, 'w'))"
    install._run(sys.executable, "-c", code)
    environment = json.loads(seen.read_text())
    assert environment["PIP_USER"] == "0" and not set(names) - {"PIP_USER"} & environment.keys()


def make(*arguments, environment=()):
    """As in a shell of its own, whatever the make that runs these tests was given."""
    given = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "RESNETS_DATA")
    own = {name: value for name, value in os.environ.items() if name not in given}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=own | dict(environment)
    )


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
SHOW = '--eval=show:;@echo "$$RESNETS_DATA|$$PYTHONPATH$$GIT_DIR|$$PYTHONUTF8|$(PYTHON)"'


@needs_make
@pytest.mark.parametrize(
    ("given", "absolute"),
    [
        ("/a folder/my  data", "/a folder/my  data"),
        ("my data", f"{ROOT}/my data"),
        ("dätä", f"{ROOT}/dätä"),
    ],
)
def test_a_folder_of_data_may_have_spaces_and_umlauts_in_its_name(given, absolute):
    done = make(SHOW, "show", f"RESNETS_DATA={given}", environment={"LC_ALL": "C"})
    assert done.stdout.startswith(f"{absolute}|"), done.stderr


@needs_make
def test_make_takes_no_settings_of_somebody_else_and_any_interpreter():
    python = "/my programs/python3"
    done = make(SHOW, "show", f"PYTHON={python}", environment={"PYTHONPATH": "/a", "GIT_DIR": "/b"})
    assert done.stdout == f"||1|{python}\n", done.stderr
    done = make("-n", "all-packages", f"PYTHON={python}", "TORCH_INDEX=https://localhost/cpu")
    assert f'"{python}" install.py all https://localhost/cpu' in done.stdout


@needs_make
def test_make_finds_an_interpreter_in_a_folder_with_spaces(tmp_path):
    folder = tmp_path / "my programs"
    folder.mkdir()
    script = folder / "python3"
    script.write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    script.chmod(0o755)
    path = os.pathsep.join((str(folder), "/usr/bin", "/bin"))
    done = make(SHOW, "show", environment={"PATH": path})
    assert done.stdout.endswith("|python3\n"), done.stderr

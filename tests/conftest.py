import pytest

from resnets import data


@pytest.fixture(scope="session")
def drawn():
    """The drawn stand-in: (train, test)."""
    return data.stand_in()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Each test has an empty cache folder of its own."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "resnets"

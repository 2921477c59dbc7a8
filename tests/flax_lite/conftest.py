"""A fake hub for tests: nothing is downloaded from anywhere else."""

import pytest
from huggingface_hub import constants, file_download, utils

from tests.flax_lite import fake_hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A fake hub that the client library uses as its endpoint, with an empty cache."""
    with fake_hub.serve() as hub:
        settings = {
            "ENDPOINT": hub.url,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_ETAG_TIMEOUT": 5,
            "HF_HUB_DOWNLOAD_TIMEOUT": 5,
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):  # older versions read it from the latter
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr("time.sleep", lambda _: None)  # the library waits before a retry
        close_session = getattr(utils, "close_session", None)
        yield hub
        (close_session or utils.get_session().close)()


@pytest.fixture
def offline(monkeypatch):
    """Returns a function that turns offline mode on."""
    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

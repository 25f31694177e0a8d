import pytest


@pytest.fixture(autouse=True, scope="module")
def _garbage_is_left():
    """A bench collects garbage before each run; here a run takes nothing, and the garbage is that of all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda: 0)
        yield

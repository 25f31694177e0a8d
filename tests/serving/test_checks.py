"""A port is ours alone, and pages of strangers in a browser on this machine get nothing done."""

import socket

import pytest

from paceline import BackendError, ConfigError
from paceline.serving import check_port, is_cross_site


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_where_somebody_listens_is_refused_even_if_it_would_be_shared(host: str) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BackendError, match=rf"another program listens on {host}:{port}.*--port"):
            check_port(host, port)
    check_port(host, port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host.invalid"])
def test_a_host_that_is_not_of_this_machine_is_wrong_usage(host: str) -> None:
    with pytest.raises(ConfigError, match="--host"):
        check_port(host, 8000)


HERE = {"host": "127.0.0.1:8000"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        HERE,
        {"host": "LOCALHOST:8000"},
        {"host": "[::1]:8000"},
        {"host": "10.0.0.7"},
        {"host": socket.gethostname()},
        {"host": "models.example.com."},
        {**HERE, "origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
        {**HERE, "origin": "https://models.example.com"},
    ],
)
def test_programs_and_own_pages_may_ask(headers: dict[str, str]) -> None:
    assert is_cross_site("POST", headers, ["models.example.com"]) is None


@pytest.mark.parametrize(
    "headers",
    [
        {**HERE, "origin": "http://127.0.0.1:3000"},
        {**HERE, "origin": "https://evil.example"},
        {**HERE, "origin": "null"},
        {**HERE, "origin": ""},
        {**HERE, "sec-fetch-site": "cross-site"},
    ],
)
def test_a_page_of_another_origin_may_look_and_not_make_work(headers: dict[str, str]) -> None:
    assert "other origins" in str(is_cross_site("POST", headers))
    assert is_cross_site("GET", headers) is None


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil"]
)
def test_a_name_that_a_stranger_gave_this_address_is_refused(method: str, host: str) -> None:
    assert "--allowed-host" in str(is_cross_site(method, {"host": host}))

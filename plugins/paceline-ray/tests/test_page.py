"""The page and the command that show what was learnt."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from paceline import StateKey
from paceline_ray.cli import app, main
from paceline_ray.hub import Hub
from paceline_ray.messages import Report
from paceline_ray.page import acceptance_sums, render


@pytest.fixture
def status():
    hub = Hub(half_life_s=60.0)
    about = StateKey("survival-1", {"policy": "survival", "target": "<b>me</b>"})
    pool = {"small/all/10/accepted": 1.0, "small/all/2/accepted": 6.0, "small/all/2/refused": 2.0}
    hub.exchange(Report("a", "1", 1, about, pool, {"rounds": 9.0, "gamma/10": 2.0, "gamma/2": 7.0}))
    return hub.status()


def test_the_page_shows_posterior_gammas_and_replicas(status):
    page = render(status)
    assert "evidence weighs half after 60 s" in page
    assert "<td>0.750" in page  # 6 of 8, the chance at position 2
    assert page.index("small/all/2") < page.index("small/all/10")
    assert page.index("<td>2<td>7") < page.index("<td>10<td>2")
    assert "<b>me</b>" not in page
    assert "&lt;b&gt;me" in page


def test_an_empty_hub_has_a_page_too():
    assert "No replica has reported yet" in render(Hub().status())
    assert "nothing is forgotten" in render(Hub().status())


def test_sums_of_other_kinds_are_shown_by_name():
    hub = Hub()
    hub.exchange(Report("a", "1", 1, StateKey("ucb-1", {}), {"2/gained": 12.5}, {}))
    assert "2/gained" in render(hub.status())
    assert acceptance_sums({"2/gained": 12.5}) == {}


@pytest.fixture
def served(status):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/paceline.json"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(json.dumps(status).encode() if found else b"no hub")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_command_shows_the_same(served, status):
    shown = CliRunner().invoke(app, ["status", "--url", served])
    assert shown.exit_code == 0
    assert "survival-1: 1 replica(s)" in shown.stdout
    assert "small/all/2              accepted       6.0  refused       2.0  share 0.750" in shown.stdout
    assert "gammas chosen  2: 7, 10: 2" in shown.stdout
    for_programs = CliRunner().invoke(app, ["status", "--url", served, "--json"])
    assert json.loads(for_programs.stdout)["subjects"] == status["subjects"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["status", "--url", "http://127.0.0.1:9"], 1, "nobody answers at http://127.0.0.1:9/paceline.json"),
        (["status", "--url", "file:///x"], 2, "--url is an address"),
        (["batch", "nowhere.jsonl", "out.jsonl"], 2, "nowhere.jsonl"),
        (["serve", "--config", "nowhere.yaml"], 2, "nowhere.yaml"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(arguments, code, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["paceline-ray", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("name", ["<script>x</script>", "<span class=bar><script>x</script>"])
def test_nothing_that_a_replica_is_called_becomes_part_of_the_page(name):
    hub = Hub()
    hub.exchange(Report(name, "1", 1, StateKey(name, {name: name}), {name: 1.0, f"{name}/accepted": 1.0}, {}))
    assert "<script>" not in render(hub.status())

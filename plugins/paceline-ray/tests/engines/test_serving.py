"""Two replicas on Ray: the hub knows what they learnt, whoever is killed. The tests share a cluster, in order."""

import os
import signal
import socket
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.engine

PROMPTS = [f"Chapter {number}. It was a" for number in range(12)]


def sums(pool, verdict):
    return sum(
        value for name, value in pool.items() if name.startswith("small/all/") and name.endswith(verdict)
    )


def check_exact(known):
    """The pool is the sum of what the replicas learnt, and that is what their own counters say."""
    total = {}
    for replica in known["replicas"]:
        totals, counts = replica["totals"], replica["counts"]
        assert sums(totals, "accepted") == pytest.approx(counts.get("accepted", 0.0), abs=1e-6)
        for name, value in totals.items():
            total[name] = total.get(name, 0.0) + value
    assert known["pool"] == pytest.approx(total, abs=1e-6)
    assert sums(known["pool"], "accepted") == pytest.approx(known["counts"]["accepted"], abs=1e-6)


def drafting(answer):
    return answer["metrics"]["speculative_decoding"]


def rounds(answer):
    return sum(drafting(answer)["gammas"].values())


def accepted(answer):
    return drafting(answer)["num_accepted_draft_tokens"]


def test_the_pool_is_the_sum_of_what_clients_were_told(service):
    with ThreadPoolExecutor(4) as clients:
        told = list(clients.map(lambda prompt: service.complete(prompt, max_tokens=24), PROMPTS))
    known = service.settled()
    check_exact(known)
    assert known["counts"]["rounds"] == sum(map(rounds, told))
    assert known["counts"]["drafted"] == sum(answer["num_draft_tokens"] for answer in map(drafting, told))
    assert known["counts"]["accepted"] == sum(map(accepted, told))
    assert known["counts"]["requests"] == len(PROMPTS)
    assert sums(known["pool"], "accepted") == pytest.approx(sum(map(accepted, told)))
    assert len(known["replicas"]) == 2
    assert all(replica["counts"].get("rounds") for replica in known["replicas"]), (
        "one replica did all the work"
    )


def test_both_replicas_write_the_same_text(service):
    texts = [service.complete("The end of", max_tokens=32)["choices"][0]["text"] for _ in range(6)]
    assert len(set(texts)) == 1


def test_a_client_killed_amid_a_stream_ends_its_request_and_no_other(service):
    before = service.settled()["counts"]
    wanted = 1900
    body = b'{"prompt": "Once", "max_tokens": %d, "stream": true}' % wanted
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=20.0) as client:
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        seen = b""
        while b"data: " not in seen:
            seen += client.recv(4096)
    assert service.complete("And then", max_tokens=8)["usage"]["completion_tokens"] == 8
    known = service.settled()
    check_exact(known)
    assert 8 < known["counts"]["emitted"] - before["emitted"] < 8 + wanted


def test_a_killed_hub_stops_no_replica_and_forgets_nothing(service, by_name, wait):
    before = service.settled()
    (hub,) = by_name(service, "ray::HubActor")
    os.kill(hub, signal.SIGKILL)
    began = time.monotonic()
    told = [service.complete(prompt, max_tokens=24) for prompt in PROMPTS[:4]]
    assert time.monotonic() - began < 30.0

    def back():
        try:
            known = service.known()
        except OSError:
            return None
        return known if known["counts"].get("requests") == before["counts"]["requests"] + 4 else None

    known = wait(back, 60.0, "the hub is back and knows of all requests")
    assert by_name(service, "ray::HubActor") != [hub]
    check_exact(known)
    added = sums(known["pool"], "accepted") - sums(before["pool"], "accepted")
    assert added == pytest.approx(sum(map(accepted, told)))


def test_what_a_killed_replica_had_reported_stays_and_another_takes_its_place(service, by_name, wait):
    before = service.settled()
    killed = by_name(service, "ray::ServeReplica")[0]
    os.kill(killed, signal.SIGKILL)
    patient = []

    def served():
        try:
            patient.append(service.complete("It was", max_tokens=8, patience_s=20.0))
        except OSError:
            return False
        return True

    wait(served, 60.0, "a completion after a replica was killed")

    def replaced():
        try:
            return len(service.known()["replicas"]) == 3
        except OSError:
            return False

    wait(replaced, 90.0, "a new replica that has reported")
    known = service.settled()
    check_exact(known)
    for name, value in before["pool"].items():
        assert known["pool"][name] >= value - 1e-6
    assert known["counts"]["requests"] == before["counts"]["requests"] + len(patient)


def test_the_page_and_the_command_show_posterior_and_gammas(service, command):
    with urllib.request.urlopen(f"{service.url}/paceline", timeout=10.0) as answer:
        page = answer.read().decode()
    assert "Shared posterior" in page
    assert "Gammas chosen" in page
    assert "small/all/0" in page
    shown = command("status", "--url", service.url)
    assert shown.process.wait(60.0) == 0
    assert "small/all/0" in shown.text()
    assert "gammas chosen" in shown.text()


def test_a_second_server_on_the_port_is_refused(service, command):
    second = command("serve", "--port", service.port)
    assert second.process.wait(60.0) == 1
    assert (
        second.text()
        .splitlines()[-1]
        .startswith(f"paceline-ray: another program listens on 127.0.0.1:{service.port}")
    )


def test_long_prompts_and_full_queues_hold_up_nobody(service):
    began = time.monotonic()
    with pytest.raises(urllib.error.HTTPError) as refused:
        service.complete("word " * 200_000)
    refused.value.close()
    assert refused.value.code == 400
    with urllib.request.urlopen(f"{service.url}/v1/models", timeout=10.0) as answer:
        assert answer.status == 200
    assert time.monotonic() - began < 10.0


def test_a_server_that_is_told_to_end_finishes_what_is_under_way(service):
    """The last test: it ends the service."""
    with ThreadPoolExecutor(4) as clients:
        told = [clients.submit(service.complete, f"Once {n}", max_tokens=150) for n in range(4)]
        time.sleep(0.5)
        service.command.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 30.0
        refused = None
        while refused is None and time.monotonic() < until:
            try:
                service.complete("Once", max_tokens=1)
            except urllib.error.HTTPError as error:
                refused = error.code, error.headers["Retry-After"]
                error.close()
        assert refused == (503, "2")
        assert [one.result()["usage"]["completion_tokens"] for one in told] == [150] * 4
    assert service.command.process.wait(60.0) == 0

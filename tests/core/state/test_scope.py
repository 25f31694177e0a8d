"""One policy for all decoders of a process."""

import gc
import threading

import pytest

from paceline.core.state import scope as scope_module


def test_decoders_of_the_same_run_share_a_policy(kept):
    first, second = kept.load(scope="process"), kept.load(scope="process")
    assert first.policy is second.policy
    first.generate("the rain")
    assert second.policy.state_dict() != kept.config().policy.build().state_dict()


@pytest.mark.parametrize(
    "other",
    [
        {"policy": {"name": "online", "window": 7}},
        {"policy": "thompson"},
        {"target": {"backend": "toy", "seed": 4}},
        {"generation": {"seed": 1}},
        {"state": "elsewhere.db"},
        {"state": None},
        {"scope": "session"},
    ],
)
def test_other_options_models_and_files_do_not(kept, other):
    first = kept.load(scope="process")
    assert kept.load(**({"scope": "process"} | other)).policy is not first.policy


def test_the_policy_is_forgotten_with_the_last_decoder(kept):
    decoder = kept.load(scope="process", state=None)
    assert len(scope_module._shared) == 1
    del decoder
    gc.collect()
    assert len(scope_module._shared) == 0


def test_what_was_learnt_together_is_saved_once(kept):
    policy = {"name": "thompson", "discount": 1.0}
    first, second = (kept.load(scope="process", policy=policy) for _ in range(2))
    for decoder in (first, second, first):
        decoder.generate("the rain")
        decoder.close()
    assert kept.entry()["statistics"] == first.policy.export()
    assert kept.entry()["state"] == first.policy.state_dict()


def test_rounds_of_threads_do_not_overlap(kept):
    drafts = {"small": {"backend": "toy", "agreement": 0.7, "step_s": 0.0005}}
    decoders = [kept.load(scope="process", state=None, drafts=drafts) for _ in range(3)]
    policy = decoders[0].policy
    order, plan, observe = [], policy.plan, policy.observe

    def logged(what, call):
        def wrapped(argument):
            order.append((what, threading.get_ident()))
            return call(argument)

        return wrapped

    policy.plan, policy.observe = logged("plan", plan), logged("observe", observe)
    start = threading.Barrier(3)

    def work(decoder):
        start.wait(timeout=30)
        decoder.generate("the rain", max_new_tokens=40)

    threads = [threading.Thread(target=work, args=(decoder,)) for decoder in decoders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [what for what, _ in order] == ["plan", "observe"] * (len(order) // 2)
    assert all(a[1] == b[1] for a, b in zip(order[::2], order[1::2], strict=True))
    assert len({thread for _, thread in order}) == 3


def test_a_round_that_fails_lets_the_others_go_on(kept):
    first, second = kept.load(scope="process", state=None), kept.load(scope="process", state=None)

    def broken(_start):
        raise RuntimeError("broken")

    plan = first.policy.plan
    first.policy.plan = broken
    with pytest.raises(Exception, match="broken"):
        first.generate("the rain")
    first.policy.plan = plan
    done = []
    thread = threading.Thread(target=lambda: done.append(second.generate("the rain")))
    thread.start()
    thread.join(timeout=30)
    assert done

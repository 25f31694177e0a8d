"""Steps become rounds: which plan was in force, what was drafted, and what a cut tells."""

from paceline.testing import ScriptedPolicy


def seen(policy):
    return [(done.plan.gamma, done.drafted, done.accepted, done.emitted) for done in policy.rounds]


def test_a_round_is_observed_under_the_plan_of_the_step_before(engine):
    policy = ScriptedPolicy([4, 1, 0, 2, 3])
    driver = engine(policy)
    driver.add(max_tokens=40)
    for _ in range(6):
        driver.step()
    assert [output.num_spec_tokens_to_schedule for output in driver.outputs] == [4, 1, 0, 2, 3, 4]
    assert seen(policy) == [(4, 4, 4, 5), (1, 1, 1, 2), (0, 0, 0, 1), (2, 2, 2, 3), (3, 3, 3, 4)]


def test_the_first_token_comes_with_its_prompt_and_is_not_observed(engine):
    policy = ScriptedPolicy([2])
    driver = engine(policy)
    driver.add()
    driver.step()
    assert (len(policy.starts), policy.rounds) == (1, [])


def test_a_prompt_read_in_pieces_asks_for_one_plan_when_it_is_done(engine):
    policy = ScriptedPolicy([2])
    driver = engine(policy, chunk=4)
    driver.add(prompt=range(10))
    for _ in range(4):
        driver.step()
    assert len(policy.starts) == 2
    assert [done.index for done in policy.rounds] == [1]


def test_starts_say_where_the_request_stands(engine):
    policy = ScriptedPolicy([3, 0])
    driver = engine(policy)
    driver.agrees = lambda name, place: place % 2 == 0
    driver.add(prompt=range(5), max_tokens=10)
    driver.serve()
    assert [(s.index, s.position, s.context, s.budget) for s in policy.starts[:3]] == [
        (0, 0, 5, 9),
        (1, 1, 6, 8),
        (2, 2, 7, 7),
    ]
    assert all(
        done.context == 5 + done.position and len(done.tokens) == done.emitted for done in policy.rounds
    )


def test_one_plan_serves_a_batch_and_every_request_has_its_round(engine):
    policy = ScriptedPolicy([2])
    driver = engine(policy)
    driver.agrees = lambda name, place: name == "good"
    for name in ("good", "bad"):
        driver.add(name)
    driver.step()
    driver.step()
    assert [start.batch for start in policy.starts] == [2, 2]
    assert seen(policy) == [(2, 2, 2, 3), (2, 2, 0, 1)]


def test_a_request_at_its_end_does_not_keep_the_others_from_drafting(engine):
    policy = ScriptedPolicy([4])
    driver = engine(policy)
    driver.agrees = lambda name, place: False
    driver.add("ends", max_tokens=5)
    driver.add("goes-on", max_tokens=40)
    for _ in range(4):
        driver.step()
    assert [start.budget for start in policy.starts] == [4, 38, 37, 36]


def test_only_requests_that_decode_are_counted(engine):
    policy = ScriptedPolicy([1])
    driver = engine(policy, chunk=4)
    driver.add("short", prompt=range(3))
    driver.add("long", prompt=range(30))
    driver.step()
    driver.step()
    assert [start.batch for start in policy.starts] == [1, 1]


def test_a_draft_that_finds_nothing_was_not_refused(engine):
    policy = ScriptedPolicy([4])
    driver = engine(policy)
    driver.finds = lambda name, gamma: 1 if driver.steps % 2 else 0
    driver.add()
    driver.serve(4)
    assert seen(policy) == [(4, 1, 1, 2), (4, 0, 0, 1), (4, 1, 1, 2)]
    assert not any(done.rejected for done in policy.rounds)


def test_a_round_cut_by_the_length_is_ended_and_delivers_what_was_left(engine):
    policy = ScriptedPolicy([4])
    driver = engine(policy)
    driver.agrees = lambda name, place: place != 8
    driver.add(max_tokens=8)
    driver.serve()
    last = policy.rounds[-1]
    assert (last.ended, last.position + last.emitted) == ("length", 8)
    assert not last.rejected
    assert [done.ended for done in policy.rounds[:-1]] == [None] * (len(policy.rounds) - 1)


def test_an_end_of_sequence_token_ends_a_round_by_eos_and_a_stop_by_its_reason_by_stop(engine):
    for reason, ended in ((None, "eos"), (7, "stop")):
        policy = ScriptedPolicy([4])
        driver = engine(policy)
        driver.add(eos=103, max_tokens=50).stop_reason = reason
        driver.serve()
        last = policy.rounds[-1]
        assert (last.ended, last.accepted, last.emitted) == (ended, 4, 3)


def test_drafts_that_a_grammar_forbids_do_not_count_as_drafted(engine):
    policy = ScriptedPolicy([4])
    driver = engine(policy)
    driver.add()
    driver.step()
    output = driver.schedule()
    output.num_invalid_spec_tokens = {"a": 3}
    driver.agrees = lambda name, place: False
    driver.run(output)
    assert seen(policy) == [(4, 1, 0, 1)]


def test_a_request_that_was_aborted_during_its_step_has_no_round(engine):
    policy = ScriptedPolicy([2])
    driver = engine(policy)
    driver.add("stays")
    driver.add("goes")
    driver.step()
    output = driver.schedule()
    driver.scheduler.forget("goes")
    driver.run(output)
    assert len(policy.rounds) == 1
    driver.step()
    assert set(driver.scheduler._paceline_active._active) == {"stays"}


def test_where_the_next_step_is_scheduled_early_the_plan_in_force_is_two_steps_old(engine):
    policy = ScriptedPolicy([1, 2, 3, 4])
    driver = engine(policy, delay=2)
    driver.add("a", max_tokens=60)
    driver.add("b", max_tokens=60)
    driver.step()
    first = driver.schedule()
    request = driver.scheduler.requests["a"]
    before, plans = request.num_computed_tokens, len(policy.starts)
    assert (before, plans) == (5, 2)
    driver.run(first)
    assert [done.plan.gamma for done in policy.rounds] == [1, 1]
    assert policy.starts[0].capabilities.action_delay == 2


def test_steps_that_overlap_are_timed_from_one_end_to_the_next(engine):
    policy = ScriptedPolicy([0])
    driver = engine(policy)
    for name in ("a", "b"):
        driver.add(name)
    driver.step()
    output = driver.schedule()
    driver.adapter._last_end = (
        driver.clock.time + 0.75
    )  # the step before was over that long after this one was scheduled
    driver.run(output)
    assert policy.rounds[-1].total_s == 0.25
    assert (policy.rounds[-1].draft_s, policy.rounds[-1].verify_s) == (0.0, 0.25)


def test_at_most_so_many_rounds_of_a_step_are_shown_and_all_requests_have_their_turn(engine):
    policy = ScriptedPolicy([0])
    driver = engine(policy, rounds_per_step=3)
    for number in range(5):
        driver.add(f"r{number}", prompt=range(number + 1), max_tokens=50)
    driver.step()
    for _ in range(5):
        driver.step()
    assert len(policy.rounds) == 15
    prompts = [done.context - done.position for done in policy.rounds]
    assert sorted(prompts) == sorted([1, 2, 3, 4, 5] * 3)


def test_null_shows_every_round(engine):
    policy = ScriptedPolicy([0])
    driver = engine(policy, rounds_per_step=None)
    for number in range(20):
        driver.add(f"r{number}")
    driver.step()
    driver.step()
    assert len(policy.rounds) == 20


def test_rounds_tell_the_states_of_drafts_that_the_policy_was_shown(engine):
    policy = ScriptedPolicy([2])
    driver = engine(policy)
    driver.add()
    driver.step()
    driver.step()
    assert [done.drafts for done in policy.rounds] == [start.drafts for start in policy.starts[:1]]
    assert list(policy.rounds[0].drafts) == ["vllm"]

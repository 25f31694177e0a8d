"""Steps become rounds: which plan was in force, what was drafted, and what a cut tells."""

from paceline.testing import ScriptedPolicy


def seen(policy):
    return [(done.plan.gamma, done.drafted, done.accepted, done.emitted) for done in policy.rounds]


def test_a_round_is_observed_under_the_plan_of_the_step_before(engine):
    policy = ScriptedPolicy([4, 1, 0, 2, 3])
    one = engine(policy)
    one.add(max_tokens=40)
    for _ in range(6):
        one.step()
    assert [output.num_spec_tokens_to_schedule for output in one.outputs] == [4, 1, 0, 2, 3, 4]
    assert seen(policy) == [(4, 4, 4, 5), (1, 1, 1, 2), (0, 0, 0, 1), (2, 2, 2, 3), (3, 3, 3, 4)]


def test_the_first_token_comes_with_its_prompt_and_is_not_observed(engine):
    policy = ScriptedPolicy([2])
    one = engine(policy)
    one.add()
    one.step()
    assert (len(policy.starts), policy.rounds) == (1, [])


def test_a_prompt_read_in_pieces_asks_for_one_plan_when_it_is_done(engine):
    policy = ScriptedPolicy([2])
    one = engine(policy, chunk=4)
    one.add(prompt=range(10))
    for _ in range(4):
        one.step()
    assert len(policy.starts) == 2
    assert [done.index for done in policy.rounds] == [1]


def test_starts_say_where_the_request_stands(engine):
    policy = ScriptedPolicy([3, 0])
    one = engine(policy)
    one.agrees = lambda name, place: place % 2 == 0
    one.add(prompt=range(5), max_tokens=10)
    one.serve()
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
    one = engine(policy)
    one.agrees = lambda name, place: name == "good"
    for name in ("good", "bad"):
        one.add(name)
    one.step()
    one.step()
    assert [start.batch for start in policy.starts] == [2, 2]
    assert seen(policy) == [(2, 2, 2, 3), (2, 2, 0, 1)]


def test_a_request_at_its_end_does_not_keep_the_others_from_drafting(engine):
    policy = ScriptedPolicy([4])
    one = engine(policy)
    one.agrees = lambda name, place: False
    one.add("ends", max_tokens=5)
    one.add("goes-on", max_tokens=40)
    for _ in range(4):
        one.step()
    assert [start.budget for start in policy.starts] == [4, 38, 37, 36]


def test_only_requests_that_decode_are_counted(engine):
    policy = ScriptedPolicy([1])
    one = engine(policy, chunk=4)
    one.add("short", prompt=range(3))
    one.add("long", prompt=range(30))
    one.step()
    one.step()
    assert [start.batch for start in policy.starts] == [1, 1]


def test_a_draft_that_finds_nothing_was_not_refused(engine):
    policy = ScriptedPolicy([4])
    one = engine(policy)
    one.finds = lambda name, gamma: 1 if one.steps % 2 else 0
    one.add()
    one.serve(4)
    assert seen(policy) == [(4, 1, 1, 2), (4, 0, 0, 1), (4, 1, 1, 2)]
    assert not any(done.rejected for done in policy.rounds)


def test_a_round_cut_by_the_length_is_ended_and_delivers_what_was_left(engine):
    policy = ScriptedPolicy([4])
    one = engine(policy)
    one.agrees = lambda name, place: place != 8
    one.add(max_tokens=8)
    one.serve()
    last = policy.rounds[-1]
    assert (last.ended, last.position + last.emitted) == ("length", 8)
    assert not last.rejected
    assert [done.ended for done in policy.rounds[:-1]] == [None] * (len(policy.rounds) - 1)


def test_an_end_of_sequence_token_ends_a_round_by_eos_and_a_stop_by_its_reason_by_stop(engine):
    for reason, ended in ((None, "eos"), (7, "stop")):
        policy = ScriptedPolicy([4])
        one = engine(policy)
        one.add(eos=103, max_tokens=50).stop_reason = reason
        one.serve()
        last = policy.rounds[-1]
        assert (last.ended, last.accepted, last.emitted) == (ended, 4, 3)


def test_drafts_that_a_grammar_forbids_do_not_count_as_drafted(engine):
    policy = ScriptedPolicy([4])
    one = engine(policy)
    one.add()
    one.step()
    output = one.schedule()
    output.num_invalid_spec_tokens = {"a": 3}
    one.agrees = lambda name, place: False
    one.run(output)
    assert seen(policy) == [(4, 1, 0, 1)]


def test_a_request_that_was_aborted_during_its_step_has_no_round(engine):
    policy = ScriptedPolicy([2])
    one = engine(policy)
    one.add("stays")
    one.add("goes")
    one.step()
    output = one.schedule()
    one.scheduler.forget("goes")
    one.run(output)
    assert len(policy.rounds) == 1
    one.step()
    assert set(one.scheduler._paceline_roster._served) == {"stays"}


def test_where_the_next_step_is_scheduled_early_the_plan_in_force_is_two_steps_old(engine):
    policy = ScriptedPolicy([1, 2, 3, 4])
    one = engine(policy, delay=2)
    one.add("a", max_tokens=60)
    one.add("b", max_tokens=60)
    one.step()
    first = one.schedule()
    request = one.scheduler.requests["a"]
    before, plans = request.num_computed_tokens, len(policy.starts)
    assert (before, plans) == (5, 2)
    one.run(first)
    assert [done.plan.gamma for done in policy.rounds] == [1, 1]
    assert policy.starts[0].capabilities.action_delay == 2


def test_steps_that_overlap_are_timed_from_one_end_to_the_next(engine):
    policy = ScriptedPolicy([0])
    one = engine(policy)
    for name in ("a", "b"):
        one.add(name)
    one.step()
    output = one.schedule()
    one.adapter._ended = (
        one.clock.time + 0.75
    )  # the step before was over that long after this one was scheduled
    one.run(output)
    assert policy.rounds[-1].total_s == 0.25
    assert (policy.rounds[-1].draft_s, policy.rounds[-1].verify_s) == (0.0, 0.25)


def test_at_most_so_many_rounds_of_a_step_are_shown_and_all_requests_have_their_turn(engine):
    policy = ScriptedPolicy([0])
    one = engine(policy, rounds_per_step=3)
    for number in range(5):
        one.add(f"r{number}", prompt=range(number + 1), max_tokens=50)
    one.step()
    for _ in range(5):
        one.step()
    assert len(policy.rounds) == 15
    prompts = [done.context - done.position for done in policy.rounds]
    assert sorted(prompts) == sorted([1, 2, 3, 4, 5] * 3)


def test_null_shows_every_round(engine):
    policy = ScriptedPolicy([0])
    one = engine(policy, rounds_per_step=None)
    for number in range(20):
        one.add(f"r{number}")
    one.step()
    one.step()
    assert len(policy.rounds) == 20


def test_rounds_tell_the_lags_and_hints_that_the_policy_was_shown(engine):
    policy = ScriptedPolicy([2])
    one = engine(policy)
    one.add()
    one.step()
    one.step()
    assert [(done.lags, done.hints) for done in policy.rounds] == [
        (start.lags, start.hints) for start in policy.starts[:1]
    ]
    assert list(policy.rounds[0].lags) == ["vllm"]

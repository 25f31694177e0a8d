"""A policy that keeps every law; the tests break it in one way at a time."""

from paceline.core.records import Plan, Requirements


class Counter:
    """A small honest policy: one more token after full acceptance, one fewer after a refusal."""

    needs = frozenset()
    requires = Requirements()

    def __init__(self):
        self.gamma = 4

    def plan(self, start):
        able = start.capabilities
        allowed = range(start.budget + 1) if able.gammas is None else (0, *able.gammas)
        fitting = [g for g in allowed if g <= start.budget and (g > 0 or able.zero_gamma)]
        return Plan(max((g for g in fitting if g <= self.gamma), default=min(fitting, default=0)))

    def keep_drafting(self, signals):
        return True

    def observe(self, done):
        if done.rejected:
            self.gamma = max(1, self.gamma - 1)
        elif done.ended is None and done.drafted:
            self.gamma = min(12, self.gamma + 1)

    def state_dict(self):
        return {"version": 1, "gamma": self.gamma}

    def load_state_dict(self, state):
        if state.get("version") != 1 or not isinstance(state.get("gamma"), int):
            raise ValueError("the state is damaged or of another version")
        self.gamma = state["gamma"]

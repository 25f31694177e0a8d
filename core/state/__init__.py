"""Statistics of policies, kept over restarts and shared by decoders: the keys `state` and `scope` of a run file."""

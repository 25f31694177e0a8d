"""Guards: what policies, drafts, targets and traces answer is checked here, so that the loop may trust it."""

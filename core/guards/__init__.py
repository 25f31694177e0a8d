"""Guards: answers of policies, drafts and targets are checked here, so that the loop may trust them."""

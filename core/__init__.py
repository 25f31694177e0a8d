"""The contracts of a round, the loop that keeps them, and what surrounds it. No tensor library is known here."""

"""The recipe that makes the embedded pair from text everyone with Python has."""

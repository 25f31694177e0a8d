"""The HTTP interface of OpenAI for a `DecoderEngine`: completions, chat completions, models."""

"""The HTTP interface of OpenAI for a `AsyncDecoder`: completions, chat completions, models."""

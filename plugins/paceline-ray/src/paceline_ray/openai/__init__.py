"""The HTTP interface of OpenAI for a `paceline_ray.engine.DecoderEngine`: completions, chat completions, models."""

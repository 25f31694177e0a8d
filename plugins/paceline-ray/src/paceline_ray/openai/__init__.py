"""The HTTP interface of OpenAI for any `paceline_ray.engine.Engine`: completions, chat completions, models."""

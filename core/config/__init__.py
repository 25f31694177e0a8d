"""Configuration: one YAML file or mapping, validated into a run that can be built."""

"""paceline on Ray: replicas that share what their policies learn, an OpenAI-compatible server, batches of prompts.

Importing this loads no Ray; the modules that need it say so when they are used.
"""

"""All that is read of transformers beyond its documented names, each with its reason.

What a new release can break is in this folder and nowhere else: names that change, classes and attributes that no page
promises. A test keeps it so.
"""

"""The pictures of a report, one a module; each takes what it draws from the findings and returns a drawing or None."""

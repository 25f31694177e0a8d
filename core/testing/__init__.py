"""The kits that plugin authors test with, and paceline itself; `paceline.testing` holds their public names."""

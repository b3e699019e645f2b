"""How loss, parameters, data and computation belong together."""

"""The duties of a worker server, one a file. Each is one tick, tested alone, run by the shared ticker."""

"""The only package that imports redis: each operation of the protocol as one atomic step. No judgement lives here."""

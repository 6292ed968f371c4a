"""Judgement as pure functions: retry or archive, which queue first, which tick is due. No I/O, no clock."""

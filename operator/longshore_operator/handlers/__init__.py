"""Joins the rest: what changed → which objects to look at → observe, plan, apply, report. No judgement of its own."""

"""A small shop's background work: welcome e-mails, image thumbnails, baskets to release, a nightly report."""

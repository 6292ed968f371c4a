# The demo. Included by the Makefile, which exports PYTHONPATH=dev.

.PHONY: demo
demo: setup ## The whole story on a local cluster: 2,000 tasks from Go, and a verified summary
	@$(BIN)/python -m demo

.PHONY: demo-down
demo-down: setup ## Remove what the demo made
	@$(BIN)/python -m demo down

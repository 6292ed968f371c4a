# The local cluster. Included by the Makefile, which exports PYTHONPATH=dev; needs nothing but Python's standard library.

.PHONY: cluster-build
cluster-build: ## Compile the local Kubernetes; the first time takes minutes
	@$(PYTHON) -m localcluster build

# The local cluster. Included by the Makefile, which exports PYTHONPATH=dev; needs nothing but Python's standard library.

.PHONY: cluster
cluster: ## Bring up a real Kubernetes on this machine, with Longshore's image loaded
	@$(PYTHON) -m localcluster up

.PHONY: cluster-down
cluster-down: ## Remove the cluster; what was compiled and built stays
	@$(PYTHON) -m localcluster down

.PHONY: cluster-status
cluster-status: ## Say what of the cluster runs, and where its logs are
	@$(PYTHON) -m localcluster status

.PHONY: cluster-build
cluster-build: ## Compile the local Kubernetes; the first time takes minutes
	@$(PYTHON) -m localcluster build

.PHONY: cluster-image
cluster-image: ## Build Longshore's image, and load it if the cluster is up
	@$(PYTHON) -m localcluster image --tag longshore:dev

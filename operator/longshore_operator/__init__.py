"""The operator: turns Broker, Queue, WorkerPool and PeriodicTask into Deployments and scales them by queue depth."""

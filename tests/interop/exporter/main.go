// The exposition of Asynq's own exporter, once, for the Redis at the address given.
package main

import (
	"fmt"
	"os"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynq/x/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

func main() {
	inspector := asynq.NewInspector(asynq.RedisClientOpt{Addr: os.Args[1]})
	defer inspector.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewQueueMetricsCollector(inspector))
	families, err := registry.Gather()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(os.Stdout, family); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

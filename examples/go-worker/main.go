// A Go worker for a WorkerPool: an ordinary Asynq server that takes its settings from the pool's environment.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

func main() {
	redis, err := connection()
	if err != nil {
		log.Fatal(err)
	}
	config, err := configuration()
	if err != nil {
		log.Fatal(err)
	}
	mux := asynq.NewServeMux()
	mux.HandleFunc("wait", wait)
	// Run takes no more tasks after SIGTERM, gives the running ones config.ShutdownTimeout, and puts back the rest.
	if err := asynq.NewServer(redis, config).Run(mux); err != nil {
		log.Fatal(err)
	}
}

// wait stands for work: it takes as long as the payload says, and its result names the pod that did it.
func wait(ctx context.Context, task *asynq.Task) error {
	var payload struct {
		Seconds float64 `json:"seconds"`
	}
	if err := json.Unmarshal(task.Payload(), &payload); err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	select {
	case <-time.After(time.Duration(payload.Seconds * float64(time.Second))):
	case <-ctx.Done():
		return ctx.Err()
	}
	host, _ := os.Hostname()
	_, err := task.ResultWriter().Write([]byte(host))
	return err
}

// connection is the Broker's: its URL never holds a password, which comes from a Secret by a variable of its own.
func connection() (asynq.RedisConnOpt, error) {
	option, err := asynq.ParseRedisURI(os.Getenv("LONGSHORE_REDIS_URL"))
	if err != nil {
		return nil, fmt.Errorf("LONGSHORE_REDIS_URL: %w", err)
	}
	username, password := os.Getenv("LONGSHORE_REDIS_USERNAME"), os.Getenv("LONGSHORE_REDIS_PASSWORD")
	switch option := option.(type) {
	case asynq.RedisClientOpt:
		option.Username, option.Password = username, password
		return option, nil
	case asynq.RedisFailoverClientOpt:
		option.Username, option.Password = username, password
		return option, nil
	}
	return option, nil
}

func configuration() (asynq.Config, error) {
	var config asynq.Config
	var err error
	if config.Concurrency, err = strconv.Atoi(os.Getenv("LONGSHORE_CONCURRENCY")); err != nil {
		return config, fmt.Errorf("LONGSHORE_CONCURRENCY: %w", err)
	}
	if config.ShutdownTimeout, err = time.ParseDuration(os.Getenv("LONGSHORE_SHUTDOWN_TIMEOUT")); err != nil {
		return config, fmt.Errorf("LONGSHORE_SHUTDOWN_TIMEOUT: %w", err)
	}
	config.StrictPriority = os.Getenv("LONGSHORE_STRICT_PRIORITY") == "true"
	config.Queues = map[string]int{}
	for _, each := range strings.Split(os.Getenv("LONGSHORE_QUEUES"), ",") { // critical=6,default=3
		name, weight, _ := strings.Cut(each, "=")
		if config.Queues[name], err = strconv.Atoi(weight); err != nil {
			return config, fmt.Errorf("LONGSHORE_QUEUES: %s: %w", each, err)
		}
	}
	return config, nil
}

package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

// serve runs every task: the payload "fail" fails, "panic" panics, "skip" is archived at once, "revoke" is dropped, "sleep"
// waits until it is cancelled, "nap" takes a tenth of a second; that and any other succeed with the payload as the result.
func serve(arguments []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	address := flags.String("redis", "127.0.0.1:6379", "host:port")
	queues := flags.String("queues", "default", "queues, comma-separated")
	concurrency := flags.Int("concurrency", 10, "worker slots")
	groupSize := flags.Int("group-max-size", 0, "aggregate groups of so many tasks; 0: aggregate nothing")
	strict := flags.Bool("strict", false, "strict priority")
	_ = flags.Parse(arguments)

	priorities := map[string]int{}
	for _, queue := range strings.Split(*queues, ",") {
		priorities[queue] = 1
	}
	config := asynq.Config{
		Concurrency:     *concurrency,
		Queues:          priorities,
		StrictPriority:  *strict,
		LogLevel:        asynq.FatalLevel,
		RetryDelayFunc:  func(int, error, *asynq.Task) time.Duration { return time.Minute },
		ShutdownTimeout: time.Second,
		// a second and five by themselves
		TaskCheckInterval:        100 * time.Millisecond,
		DelayedTaskCheckInterval: time.Second,
	}
	if *groupSize > 0 {
		config.GroupAggregator = asynq.GroupAggregatorFunc(merge)
		config.GroupMaxSize = *groupSize
		config.GroupGracePeriod = time.Second // it looks as often as that
	}
	server := asynq.NewServer(connection(*address), config)
	var output sync.Mutex
	err := server.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		queue, _ := asynq.GetQueueName(ctx)
		retried, _ := asynq.GetRetryCount(ctx)
		maximum, _ := asynq.GetMaxRetry(ctx)
		deadline, _ := ctx.Deadline()
		output.Lock()
		_ = print(map[string]any{
			"id": id, "queue": queue, "type": task.Type(), "payload": task.Payload(), "headers": task.Headers(),
			"retried": retried, "max_retry": maximum, "seconds": time.Until(deadline).Seconds(),
		})
		output.Unlock()
		switch string(task.Payload()) {
		case "fail":
			return errors.New("told to fail")
		case "panic":
			panic("told to panic")
		case "skip":
			return asynq.SkipRetry
		case "revoke":
			return asynq.RevokeTask
		case "nap":
			time.Sleep(100 * time.Millisecond)
		case "sleep":
			<-ctx.Done()
			return ctx.Err()
		}
		_, err := task.ResultWriter().Write(task.Payload())
		return err
	}))
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Shutdown()
	return nil
}
